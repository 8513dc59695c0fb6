package importer

import "sync"

// task is a blob that has to be in some repositories, or a manifest of which everything that it needs is there.
type task struct {
	row      int32
	manifest bool
	repo     int32    // of a manifest
	content  *spooled // of a blob that came through a pipe; nil: it is read from the bundle
}

// queue hands out tasks to workers. Tasks are added while others are under way; the queue ends when none is left that
// could add another. Manifests go first, so that what is complete leaves no trace in memory and images become complete
// one after the other.
type queue struct {
	mu        sync.Mutex
	wake      sync.Cond
	manifests []task
	blobs     []task
	open      int // tasks that are not finished, and 1 until the feeder is
	openBlobs int // of these, blobs
	stopped   bool
}

func newQueue() *queue {
	q := &queue{open: 1}
	q.wake.L = &q.mu
	return q
}

func (q *queue) add(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open++
	if t.manifest {
		q.manifests = append(q.manifests, t)
	} else {
		q.blobs = append(q.blobs, t)
		q.openBlobs++
	}
	q.wake.Broadcast()
}

// next waits for a task; false when there will be no more.
func (q *queue) next() (t task, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.stopped || q.open == 0:
			return task{}, false
		case len(q.manifests) > 0:
			t, q.manifests = q.manifests[0], q.manifests[1:]
			return t, true
		case len(q.blobs) > 0:
			t, q.blobs = q.blobs[0], q.blobs[1:]
			return t, true
		}
		q.wake.Wait()
	}
}

// finish ends a task. Tasks that come of it must have been added before.
func (q *queue) finish(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !t.manifest {
		q.openBlobs--
	}
	q.close()
}

// endFeed ends the feeder.
func (q *queue) endFeed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.close()
}

func (q *queue) close() {
	if q.open--; q.open == 0 || q.openBlobs == 0 {
		q.wake.Broadcast()
	}
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
