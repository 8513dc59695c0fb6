package registry

import (
	"context"
	"errors"

	"airgap/export/registry/retry"
)

// pacer paces the tries of one operation.
func (c *core) pacer(once bool) retry.Pacer { return retry.Pacer{Policy: c.retry, Once: once} }

// retrying calls try until it succeeds, fails for good, or has failed too often, which with once is the first time. The
// error is then try's last, and not temporary for who may call this from a try of its own.
func (c *core) retrying(ctx context.Context, once bool, try func() error) error {
	p := c.pacer(once)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if err := c.pause(ctx, &p, err); err != nil {
			return err
		}
	}
}

// pause returns nil when err is worth another try and the time for it has come, or else the error to give up with.
func (c *core) pause(ctx context.Context, p *retry.Pacer, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if !errors.As(err, &e) || !e.temporary || e.final {
		return err
	}
	d, ok := p.Next(e.RetryAfter)
	if !ok {
		e.final = true
		return err
	}
	c.log.WarnContext(ctx, "trying again", "after", d, "error", err)
	return c.retry.Sleep(ctx, d)
}
