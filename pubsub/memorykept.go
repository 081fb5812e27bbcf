package pubsub

// memoryKept bounds, in bytes, what a Memory keeps of all topics together. When it becomes too much, the oldest
// event of all is forgotten, and where the records of topics without events take more than half, the oldest of
// these. So one who publishes to ever new topics can't make it grow. The holder of Memory.order owns it.
type memoryKept struct {
	limit, bytes int
	records      int // of bytes, those of topics themselves
	events       int
	// oldest and newest are the ends of the list of all events, oldestBare and newestBare those of the list
	// of logs without events, by when they lost the last.
	oldest, newest         *keptEvent
	oldestBare, newestBare *memoryLog
	// forgotten is the largest Ms of the records that went before their time: who was away since then or
	// before may have missed something that nobody knows of.
	forgotten uint64
}

// keptEvent is an event with its place among all.
type keptEvent struct {
	*Event
	log          *memoryLog
	older, newer *keptEvent
}

// recordOverhead is about what a topic takes beside its name and its events.
const recordOverhead = 256

func (l *memoryLog) size() int { return recordOverhead + len(l.topic) }

// size is about what an event takes: memory comes in sizes up to an eighth apart.
func (e *keptEvent) size() int { return size(e.Event) + len(e.Data)/8 }

// begin takes a new log, which is bare, into the books.
func (k *memoryKept) begin(l *memoryLog) {
	k.bytes += l.size()
	k.records += l.size()
	k.lay(l)
}

// end takes a bare log out of the books.
func (k *memoryKept) end(l *memoryLog) {
	k.dress(l)
	k.bytes -= l.size()
	k.records -= l.size()
}

// add takes an event into the books, which is the newest of all and of its log.
func (k *memoryKept) add(e *keptEvent) {
	if len(e.log.events) == 0 {
		k.dress(e.log)
	}
	if e.log.events = append(e.log.events, e); k.newest == nil {
		k.oldest = e
	} else {
		e.older, k.newest.newer = k.newest, e
	}
	k.newest = e
	k.bytes += e.size()
	k.events++
}

// shift takes the oldest event of l out of the books.
func (k *memoryKept) shift(l *memoryLog) {
	e := l.events[0]
	l.events[0] = nil
	if l.events = l.events[1:]; len(l.events) == 0 {
		l.events = nil
		k.lay(l)
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		k.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		k.newest = e.older
	}
	k.bytes -= e.size()
	k.events--
}

// lay puts a log that has no events at the end of the bare ones.
func (k *memoryKept) lay(l *memoryLog) {
	if l.older = k.newestBare; l.older == nil {
		k.oldestBare = l
	} else {
		l.older.newer = l
	}
	k.newestBare = l
}

// dress takes a log out of the bare ones.
func (k *memoryKept) dress(l *memoryLog) {
	if l.older != nil {
		l.older.newer = l.newer
	} else {
		k.oldestBare = l.newer
	}
	if l.newer != nil {
		l.newer.older = l.older
	} else {
		k.newestBare = l.older
	}
	l.older, l.newer = nil, nil
}

// fit forgets the oldest until the rest fits.
func (m *Memory) fit() {
	for k := &m.kept; k.bytes > k.limit; {
		if l := k.oldestBare; l != nil && (k.records > k.limit/2 || k.oldest == nil) {
			m.end(l)
			k.forgotten = max(k.forgotten, l.last.Ms)
			m.stats.drops[RecordsFull].Add(1)
			continue
		}
		k.shift(k.oldest.log)
		m.stats.drops[HistoryFull].Add(1)
	}
}
