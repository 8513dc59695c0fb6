package export

import "sync"

// workQueue runs tasks, some at a time, that may add further tasks. Unlike a goroutine for each task it holds what
// waits in a list, so that a catalogue of images costs no stack for each manifest that is still to be looked at.
type workQueue struct {
	mu     sync.Mutex
	wake   *sync.Cond
	tasks  []func()
	active int
	jobs   int
}

func newWorkQueue(jobs int) *workQueue {
	q := &workQueue{jobs: jobs}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// add queues a task. What was added last runs first: depth first keeps the list short.
func (q *workQueue) add(task func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tasks = append(q.tasks, task)
	q.wake.Signal()
}

// wait runs the tasks and returns when all, and all that they added, are done.
func (q *workQueue) wait() {
	var workers sync.WaitGroup
	for range q.jobs {
		workers.Go(q.work)
	}
	workers.Wait()
}

func (q *workQueue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.tasks) == 0 && q.active > 0 {
			q.wake.Wait()
		}
		if len(q.tasks) == 0 {
			q.wake.Broadcast() // the others are done as well
			return
		}
		task := q.tasks[len(q.tasks)-1]
		q.tasks = q.tasks[:len(q.tasks)-1]
		q.active++
		q.mu.Unlock()
		task()
		q.mu.Lock()
		q.active--
	}
}
