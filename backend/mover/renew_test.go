package mover

import (
	"reflect"
	"testing"

	"sliod/backend/catalog"
)

// TestRenewTakesAllOver holds renew against the fields that there are.
func TestRenewTakesAllOver(t *testing.T) {
	rec := catalog.Volume{No: 7, Barcode: "A00007L9", UUID: "u", Pool: "p", State: catalog.VolFull, Capacity: 1, Used: 2, Dead: 3,
		Generation: 4, Formatted: catalog.Time{Sec: 5}, BlockSize: 6, EndOfData: catalog.VolPos{Block: 7}, Flags: 8, KeyID: "k"}
	for i := range reflect.TypeFor[catalog.Volume]().NumField() {
		if reflect.ValueOf(rec).Field(i).IsZero() {
			t.Errorf("the test lacks field %s", reflect.TypeFor[catalog.Volume]().Field(i).Name)
		}
	}
	v := &volume{rec: catalog.Volume{No: 7, Barcode: "A00007L9"}}
	v.renew(&rec)
	if v.rec != rec {
		t.Errorf("%+v, want %+v", v.rec, rec)
	}
}
