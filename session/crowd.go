package session

// crowd is a topic's followers in dense order, each at an index that its subscription knows. Most topics
// of a notification hub are some user's own and have one follower; that one costs no list.
//
// While a batch is on its way the crowd has three parts: [0,next) have it, [next,limit) get it, [limit,len)
// came later and do not.
type crowd struct {
	one  *Session
	many *[]*Session // with more than one, all of them; else nil
}

func (c *crowd) len() int {
	switch {
	case c.many != nil:
		return len(*c.many)
	case c.one != nil:
		return 1
	}
	return 0
}

func (c *crowd) at(i int) *Session {
	if c.many != nil {
		return (*c.many)[i]
	}
	return c.one
}

// add appends s and returns its index.
func (c *crowd) add(s *Session) int {
	switch {
	case c.many != nil:
		*c.many = append(*c.many, s)
	case c.one != nil:
		c.many, c.one = &[]*Session{c.one, s}, nil
	default:
		c.one = s
	}
	return c.len() - 1
}

// remove takes out the follower at index i of a crowd in parts. moved is called for each follower that gets
// another index: the last of each part fills the hole before it, so that each part keeps its members.
func (c *crowd) remove(i int, next, limit *int, moved func(s *Session, to int)) {
	if i < *next {
		*next--
		i = c.move(*next, i, moved)
	}
	if i < *limit {
		*limit--
		i = c.move(*limit, i, moved)
	}
	last := c.len() - 1
	c.move(last, i, moved)
	c.truncate(last)
}

// move fills the hole at to with the follower at from, and returns the new hole.
func (c *crowd) move(from, to int, moved func(*Session, int)) int {
	if from != to {
		s := (*c.many)[from]
		(*c.many)[to] = s
		moved(s, to)
	}
	return from
}

func (c *crowd) truncate(n int) {
	switch {
	case n == 0:
		*c = crowd{}
	case n == 1:
		*c = crowd{one: (*c.many)[0]}
	case cap(*c.many) > 64 && n < cap(*c.many)/4:
		list := append(make([]*Session, 0, cap(*c.many)/2), (*c.many)[:n]...)
		c.many = &list
	default:
		(*c.many)[n] = nil
		*c.many = (*c.many)[:n]
	}
}
