package session

import "sync"

// users counts the sessions of each user on this node, for MaxSessionsPerUser. Without that limit it keeps
// nothing.
type users struct {
	limit int
	mu    sync.Mutex
	n     map[string]int
}

// enter counts one more session of user, unless there are limit and surplus more.
func (u *users) enter(user string, surplus int) bool {
	if u.limit == 0 || user == "" {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[user] >= u.limit+surplus {
		return false
	}
	if u.n == nil {
		u.n = make(map[string]int)
	}
	u.n[user]++
	return true
}

// crowded reports whether user has more sessions than the limit.
func (u *users) crowded(user string) bool {
	if u.limit == 0 || user == "" {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n[user] > u.limit
}

func (u *users) leave(user string) {
	if u.limit == 0 || user == "" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[user]--; u.n[user] <= 0 {
		delete(u.n, user)
	}
}
