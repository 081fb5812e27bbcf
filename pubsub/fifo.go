package pubsub

// fifo is a queue in blocks: it grows without copying and gives back what is gone. The zero fifo is empty.
type fifo[T any] struct {
	blocks []*[fifoBlock]T
	head   int // in the first block, of the oldest entry
	n      int
}

const fifoBlock = 512

func (q *fifo[T]) len() int { return q.n }

func (q *fifo[T]) push(v T) {
	at := q.head + q.n
	if at == len(q.blocks)*fifoBlock {
		q.blocks = append(q.blocks, new([fifoBlock]T))
	}
	q.blocks[at/fifoBlock][at%fifoBlock] = v
	q.n++
}

// first is the oldest entry, of which there must be one.
func (q *fifo[T]) first() T { return q.blocks[0][q.head] }

// pop takes out the oldest entry, of which there must be one.
func (q *fifo[T]) pop() T {
	v := q.blocks[0][q.head]
	q.head++
	q.n--
	if q.head == fifoBlock {
		q.blocks[0] = nil
		q.blocks, q.head = q.blocks[1:], 0
	}
	if q.n == 0 {
		*q = fifo[T]{}
	}
	return v
}
