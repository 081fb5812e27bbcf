package pubsub

import "context"

// ChangePresence implements Broker.
func (r *Redis) ChangePresence(_ context.Context, batch []Change) []error {
	errs := make([]error, len(batch))
	for i := range errs {
		errs[i] = ErrNoPresence
	}
	return errs
}

// ReadPresence implements Broker.
func (r *Redis) ReadPresence(context.Context, string, string, int) (Presence, error) {
	return Presence{}, ErrNoPresence
}

// RepairPresence implements Broker.
func (r *Redis) RepairPresence(string) {}
