package importer_test

import (
	"testing"

	"airgap/export/registry/harbor/harbortest"
	importer "airgap/import"
	"airgap/import/importtest"
)

// TestLayersThatAProjectHas: a layer that lies in a repository of the project to which nothing goes is mounted from there and
// not sent, if the account may list the repositories.
func TestLayersThatAProjectHas(t *testing.T) {
	h := newAtHarbor(t)
	sent := map[string]int64{}
	for name, rights := range map[string][]harbortest.Right{
		"may-list":     {harbortest.Push, harbortest.ListRepositories},
		"may-not-list": {harbortest.Push},
	} {
		h.s.AddProject(harbortest.Project{Name: name})
		h.s.AddBlob(name+"/unrelated/app", importtest.LayerType, h.Blobs[h.Large.Digest])
		h.s.AddManifest(name+"/unrelated/app", "", h.Tool.MediaType, h.Blobs[h.Tool.Digest]) // or the repository is not listed
		robot := h.s.AddRobot(name, "imp", rights...)
		dry, err := h.run(robot, name, func(o *importer.Options) { o.DryRun = true })
		if err != nil {
			t.Fatal(err)
		}
		done := h.works(robot, name)
		if dry.Planned != done.Planned || done.Planned.BytesPushed != done.Done.BytesPushed {
			t.Errorf("%s: planned %+v and %+v, done %+v", name, dry.Planned, done.Planned, done.Done)
		}
		sent[name] = done.Done.BytesPushed
	}
	if sent["may-not-list"]-sent["may-list"] != h.Large.Size {
		t.Errorf("sent %v; want %d less where repositories may be listed", sent, h.Large.Size)
	}
}
