package transfer

import (
	"sync"

	"airgap/import/parallel"
)

// task is a blob that has to be in some repositories, or a manifest of which everything that it needs is there.
type task struct {
	row      int32
	manifest bool
	repo     int32    // that it goes to; of a blob, the first that lacks it
	content  *spooled // of a blob that came through a pipe; nil: it is read from the bundle
}

func (t task) close() error {
	if t.content == nil {
		return nil
	}
	return t.content.Close()
}

// queue hands out tasks to workers. Tasks are added while others are under way; the queue ends when none is left that
// could add another. Manifests go first, so that what is complete leaves no trace in memory and images become complete
// one after the other. What goes into a lane that is busy waits, and what goes into others is done meanwhile.
type queue struct {
	limits parallel.Limits

	mu        sync.Mutex
	wake      sync.Cond
	lanes     []lane
	open      int // tasks that are not finished, and 1 until the feeder is
	openBlobs int // of these, blobs
	stopped   bool
}

// lane is what waits to go into one lane.
type lane struct {
	busy      int // tasks that are under way
	manifests []task
	begun     []task // blobs that other lanes have already; they come first, as they may take room in the spool
	blobs     []task
}

func newQueue(limits parallel.Limits) *queue {
	q := &queue{open: 1, limits: limits, lanes: make([]lane, limits.Lanes)}
	q.wake.L = &q.mu
	return q
}

func (q *queue) add(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open++
	l := q.lane(t)
	if t.manifest {
		l.manifests = append(l.manifests, t)
	} else {
		l.blobs = append(l.blobs, t)
		q.openBlobs++
	}
	q.wake.Broadcast()
}

func (q *queue) lane(t task) *lane { return &q.lanes[q.limits.Lane[t.repo]] }

// goOn ends what a task has to do in one lane, and leaves the rest of it to whoever has time: repo is in another one.
func (q *queue) goOn(t task, repo int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lane(t).busy--
	t.repo = repo
	l := q.lane(t)
	l.begun = append(l.begun, t)
	q.wake.Broadcast()
}

// next waits for a task; false when there will be no more.
func (q *queue) next() (t task, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.stopped || q.open == 0 {
			return task{}, false
		}
		if l := q.choose(); l != nil {
			l.busy++
			return l.take(), true
		}
		q.wake.Wait()
	}
}

// choose returns the lane to take a task from: one with manifests, or else that with the first blob of the file. nil: none
// has any that may be begun.
func (q *queue) choose() (best *lane) {
	for i := range q.lanes {
		l := &q.lanes[i]
		switch {
		case l.busy >= q.limits.PerLane:
		case len(l.manifests) > 0:
			return l
		case len(l.begun)+len(l.blobs) > 0 && (best == nil || l.row() < best.row()):
			best = l
		}
	}
	return best
}

// row returns that of the next blob.
func (l *lane) row() int32 {
	if len(l.begun) > 0 {
		return l.begun[0].row
	}
	return l.blobs[0].row
}

func (l *lane) take() (t task) {
	for _, list := range []*[]task{&l.manifests, &l.begun, &l.blobs} {
		if len(*list) > 0 {
			t, *list = (*list)[0], (*list)[1:]
			return t
		}
	}
	return t
}

// left returns the tasks that nobody has taken.
func (q *queue) left() (tasks []task) {
	for _, l := range q.lanes {
		tasks = append(tasks, append(l.begun, l.blobs...)...)
	}
	return tasks
}

// finish ends a task. Tasks that come of it must have been added before.
func (q *queue) finish(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !t.manifest {
		q.openBlobs--
	}
	q.lane(t).busy--
	q.close()
}

// endFeed ends the feeder.
func (q *queue) endFeed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.close()
}

func (q *queue) close() {
	q.open--
	q.wake.Broadcast() // for who waits for the end, for the blobs, or for a lane that is less busy now
}

// drain waits until no blob is waiting or under way; false when the queue was stopped.
func (q *queue) drain() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.openBlobs > 0 && !q.stopped {
		q.wake.Wait()
	}
	return !q.stopped
}

// stop makes next return false at once.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.wake.Broadcast()
}
