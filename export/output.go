package export

import (
	"io"

	"airgap/bundle"
	"airgap/bundle/volume"
)

// Output is where a bundle goes.
type Output struct {
	path       string
	volumeSize int64 // 0: one file
	parity     func(volumes int) int
	stream     io.Writer
}

// ToFile writes to a file at path, blobs in parallel to their final place. What fails once the plan is signed is left
// behind, under another name, for a later Run to continue.
func ToFile(path string) Output { return Output{path: path} }

// InVolumes makes of an output to a file one to volumes of the given size, in bytes, with as many of parity as parity says;
// nil is none (package volume).
func (o Output) InVolumes(size int64, parity func(volumes int) int) Output {
	o.volumeSize, o.parity = size, parity
	return o
}

// ToStream writes to w, in order. What fails cannot be continued.
func ToStream(w io.Writer) Output { return Output{stream: w} }

func (o Output) create(l *bundle.Layout) (*bundle.Writer, error) {
	target, err := o.target()
	if err != nil {
		return nil, err
	}
	return bundle.Create(target, l)
}

func (o Output) target() (bundle.Target, error) {
	switch {
	case o.stream != nil:
		return bundle.NewStream(o.stream), nil
	case o.volumeSize == 0:
		return bundle.CreateFile(o.path)
	}
	return volume.Create(o.path, o.volumeSize, o.parity)
}

// completed opens what an earlier run has completed.
func (o Output) completed() (bundle.Medium, error) {
	if o.volumeSize == 0 {
		return bundle.OpenFile(o.path)
	}
	return volume.Open(volume.FirstName(o.path))
}

// reopen opens what an earlier run has left.
func (o Output) reopen() (*bundle.Partial, error) {
	var f bundle.File
	var err error
	if o.volumeSize == 0 {
		f, err = bundle.ReopenFile(o.path)
	} else {
		f, err = volume.Reopen(o.path, o.volumeSize, o.parity)
	}
	if err != nil {
		return nil, err
	}
	return bundle.OpenPartial(f)
}
