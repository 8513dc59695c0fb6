package harbor

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"airgap/bundle"
	"airgap/bundle/strictjson"
)

// ScheduleNone is the GCSchedule.Type of a garbage collection that nobody has scheduled.
const ScheduleNone = "None"

// GCSchedule is when Harbor collects garbage: blobs that nothing refers to and that are more than two hours old.
type GCSchedule struct {
	Type string // Hourly, Daily, Weekly, Custom or ScheduleNone
	Cron string // with seconds first
	// DeleteUntagged takes artifacts that have no tag for garbage too, and so what an import that is not yet done has
	// pushed by digest.
	DeleteUntagged bool
	// Next is when it runs next; zero where that is not known.
	Next time.Time
}

// GarbageCollection returns the schedule. Only system administrators may see it, and robots with the permission for it.
// (getGCSchedule)
func (c *Client) GarbageCollection(ctx context.Context) (GCSchedule, error) {
	k := call{op: "read the schedule of garbage collection at", path: "/system/gc/schedule", limit: maxDocument}
	answer, err := c.do(ctx, k)
	if err != nil {
		return GCSchedule{}, err
	}
	schedule, err := parseGC(answer.Body)
	if err != nil {
		return GCSchedule{}, c.malformed(k, err)
	}
	return schedule, nil
}

// parseGC reads a schedule. Where there is none Harbor's handler answers 200 with nothing (src/server/v2.0/handler/gc.go);
// the options are JSON in a string.
func parseGC(body []byte) (GCSchedule, error) {
	if text := bytes.TrimSpace(body); len(text) == 0 || string(text) == "null" {
		return GCSchedule{Type: ScheduleNone}, nil
	}
	var doc struct {
		Parameters string `json:"job_parameters"`
		Schedule   struct {
			Type string `json:"type"`
			Cron string `json:"cron"`
			Next string `json:"next_scheduled_time"`
		} `json:"schedule"`
	}
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return GCSchedule{}, err
	}
	schedule := GCSchedule{Type: doc.Schedule.Type, Cron: doc.Schedule.Cron}
	if schedule.Type == "" && schedule.Cron == "" {
		schedule.Type = ScheduleNone
	}
	if doc.Schedule.Next != "" {
		next, err := time.Parse(time.RFC3339, doc.Schedule.Next)
		if err != nil {
			return GCSchedule{}, fmt.Errorf("%w: next_scheduled_time is %.40q", bundle.ErrFormat, doc.Schedule.Next)
		}
		if next.Year() > 1 { // Harbor's "never" is the first of January of the year 1
			schedule.Next = next
		}
	}
	var err error
	schedule.DeleteUntagged, err = parseGCParameters(doc.Parameters)
	return schedule, err
}

func parseGCParameters(text string) (deleteUntagged bool, err error) {
	if text == "" || text == "null" {
		return false, nil
	}
	var parameters struct {
		DeleteUntagged bool `json:"delete_untagged"`
	}
	if err := strictjson.Unmarshal([]byte(text), &parameters); err != nil {
		return false, fmt.Errorf("job_parameters: %w", err)
	}
	return parameters.DeleteUntagged, nil
}
