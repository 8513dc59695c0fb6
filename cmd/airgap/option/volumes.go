package option

import (
	"github.com/spf13/pflag"

	"airgap/bundle/volume"
	"airgap/cmd/airgap/app"
)

// Volumes say how a bundle is cut.
type Volumes struct {
	Size   string
	parity string

	Bytes int64
	Count func(volumes int) int // of parity; nil for none
}

// Add defines the flags.
func (v *Volumes) Add(f *pflag.FlagSet) {
	f.StringVar(&v.Size, "volume-size", "", "`SIZE` of volumes: as in 4000MiB or 4GB, or fat32, dvd, dvd-dl, bd, bd-dl")
	f.StringVar(&v.parity, "parity", "", "`N` or N%: so many volumes of parity, each of which can stand in for one that is lost")
}

// Parse reads their values into Bytes and Count.
func (v *Volumes) Parse() (err error) {
	if v.parity != "" {
		if v.Size == "" {
			return app.Usagef("--parity needs --volume-size")
		}
		if v.Count, err = volume.ParseParity(v.parity); err != nil {
			return app.Usagef("--parity: %q is no number of volumes, as in 2 or 10%%", v.parity)
		}
	}
	if v.Size != "" {
		if v.Bytes, err = volume.ParseSize(v.Size); err != nil {
			return app.Usagef("--volume-size: %q is no size of at least 64KiB, as in 4000MiB or 4GB, or fat32, dvd, dvd-dl, bd, bd-dl", v.Size)
		}
	}
	return nil
}
