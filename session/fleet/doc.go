// Package fleet lets the hubs of a deployment ask each other questions: what is known of a user, how many follow a topic,
// how a hub is. It knows nothing of what is asked: whoever can answer a kind of question registers for it.
//
// # The walk of a question
//
//  1. [Fleet.Ask] numbers the question, and has the broker bring it to the mailbox of each node that is asked. This node is
//     asked without the broker.
//  2. There [Fleet.Control], on the broker's goroutine, puts it into a short queue.
//  3. One of a few goroutines of [Fleet.Run] has it answered by the func of its kind, and sends the answer to the mailbox of
//     the node that asked.
//  4. Ask gathers until all have answered or its time is over. Whoever has not answered by then is silent.
//
// Questions and answers go at most once: one that is lost is a silent node. All is bounded: the questions that are open and
// those that wait for an answer, in number; arguments and answers, in bytes; and in time. Each drop has a name: see
// [Fleet.Dropped].
package fleet
