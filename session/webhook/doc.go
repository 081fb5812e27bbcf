// Package webhook posts entries of the lifecycle streams to URLs. It knows HTTP, signatures and addresses; who reads
// which stream, and how far, it leaves to pubsub.
//
//	Source ──batch, fence──▶ Webhooks ── one hook for each URL ──POST, signed──▶ endpoint
//	        ◀─done, or again in 1 to 60 s──
//
// # What is promised
//
// Each entry is posted at least once, those of a stream in order: a batch follows when the one before it was taken or given up.
// An endpoint takes a batch with a status of 200 to 299. All else is tried again with back-off until Config.Retry has passed since the
// first try, by whichever hub; then its entries are dead letters: they are counted, logged with their IDs, and the next batch
// follows. Statuses of 400 to 499 are no exception, not even 410: proxies answer 404 and 401 while an endpoint is deployed, and a
// try costs less than lost events.
//
// A batch keeps its webhook-id over all tries, also by another hub. Each request has the fence of its stream, which goes up whenever
// another hub begins to read: an endpoint that remembers the largest one of each stream tells late requests of a hub that stood still.
//
// # Whom it talks to
//
// Requests follow no redirect, and no proxy of the environment. Each dial is judged by the address that it is about to reach, behind
// all names, so a name that changes its address between two tries reaches nothing new (dial.go). Of an answer the status counts; of
// its body 64 KiB are read. A try takes 10 s at most.
//
// The form is that of Standard Webhooks (https://www.standardwebhooks.com): sign.go.
package webhook
