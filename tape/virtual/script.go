package virtual

import (
	"bufio"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/scsi"
)

// maxScriptLine bounds a line of a fault script, in bytes.
const maxScriptLine = 4096

// maxScript bounds how many faults a script has: each is looked at for every command.
const maxScript = 1000

// ParseFaults reads a fault script: one fault a line, as docs/virtual-library.md describes it.
// An error begins with name and the line's number; name is for that only.
func ParseFaults(name string, r io.Reader) ([]Fault, error) {
	var faults []Fault
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxScriptLine)
	n := 0
	for lines.Scan() {
		n++
		f, ok, err := parseFault(lines.Text())
		if err != nil {
			return nil, errors.WithMessagef(err, "%s:%d", name, n)
		}
		if !ok {
			continue
		}
		if len(faults) == maxScript {
			return nil, errors.Errorf("%s:%d: more than %d faults", name, n, maxScript)
		}
		faults = append(faults, f)
	}
	if err := lines.Err(); err != nil {
		return nil, errors.Wrapf(err, "%s:%d", name, n+1)
	}
	return faults, nil
}

// A verb is the first word of a line.
type verb struct {
	keys  string // that it takes besides those of when, by name, with blanks between
	needs string // of all keys: must be there
	fill  func(f *Fault, w *words) error
	// state: without "command" the fault is one from the start.
	state bool
	// arm: the commands are moves of the arm.
	arm bool
}

// when are the keys that say at which command a fault strikes.
const when = "command device volume nth times after"

var verbs = map[string]verb{
	"fail": {keys: "sense", needs: "command sense", fill: fillFail},
	"lose": {needs: "command", fill: func(f *Fault, _ *words) error { f.Lost = true; return nil }},
	"bad":  {keys: "block on", needs: "volume block", state: true, fill: fillBad},
	"hang": {keys: "seconds", needs: "device seconds", state: true, fill: func(f *Fault, w *words) error {
		d, err := w.seconds()
		f.Effects = []Effect{{Hang: d}}
		return err
	}},
	"drop": {arm: true, fill: effect(Effect{Drop: true})},
	"jam": {arm: true, fill: func(f *Fault, w *words) error {
		f.Sense = scsi.Sense{Key: scsi.HardwareKey, Code: codeArmFailed}
		if _, given := w.values["times"]; !given {
			f.Times = -1
		}
		return nil
	}},
	"die":   {needs: "device", state: true, fill: effect(Effect{Die: true})},
	"power": {needs: "command", fill: effect(Effect{PowerOff: true})},
	"away":  {keys: "commands seconds", state: true, fill: fillAway},
	"reset": {needs: "device", state: true, fill: effect(Effect{Reset: true})},
	"alert": {keys: "flag", needs: "device flag", state: true, fill: func(f *Fault, w *words) error {
		n, err := w.number("flag", 1, 64)
		f.Effects = []Effect{{Alert: tape.Alert(n)}}
		return err
	}},
	"clean": {keys: "urgency", needs: "device", state: true, fill: fillClean},
	"flip": {keys: "bit", needs: "command", fill: func(f *Fault, w *words) error {
		n, err := w.number("bit", 0, math.MaxInt64)
		f.Effects = []Effect{{Flip: true, Bit: n}}
		return err
	}},
}

func effect(x Effect) func(*Fault, *words) error {
	return func(f *Fault, _ *words) error { f.Effects = []Effect{x}; return nil }
}

// words are the key=value words of a line.
type words struct{ values map[string]string }

func parseFault(line string) (f Fault, ok bool, err error) {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return f, false, nil
	}
	v, known := verbs[fields[0]]
	if !known {
		return f, false, errors.Errorf("there is no fault %q: give one of %s", fields[0], strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	w := &words{map[string]string{}}
	allowed := strings.Fields(when + " " + v.keys)
	for _, field := range fields[1:] {
		key, value, found := strings.Cut(field, "=")
		if !found && key == "after" {
			value = "yes"
		} else if !found || value == "" {
			return f, false, errors.Errorf("%q is not KEY=VALUE", field)
		}
		if !slices.Contains(allowed, key) {
			return f, false, errors.Errorf("%s takes no %q: it takes %s", fields[0], key, strings.Join(allowed, ", "))
		}
		if _, twice := w.values[key]; twice {
			return f, false, errors.Errorf("%q is given twice", key)
		}
		w.values[key] = value
	}
	for _, key := range strings.Fields(v.needs) {
		if w.values[key] == "" {
			return f, false, errors.Errorf("%s needs %s=", fields[0], key)
		}
	}
	if v.arm && w.values["command"] == "" {
		w.values["command"] = "move"
	}
	if err := fillWhen(&f, w); err != nil {
		return f, false, err
	}
	f.Now = v.state && w.values["command"] == ""
	if f.Now && (w.values["nth"] != "" || w.values["times"] != "" || w.values["after"] != "") {
		return f, false, errors.Errorf("nth, times and after count commands: give command=")
	}
	if err := v.fill(&f, w); err != nil {
		return f, false, err
	}
	return f, true, nil
}

// fillWhen reads the keys that all faults take.
func fillWhen(f *Fault, w *words) error {
	f.Device = AnyDrive
	if name := w.values["command"]; name != "" {
		c, err := commandNamed(name)
		if err != nil {
			return err
		}
		f.Opcode, f.Also, f.Action, f.Any = c.opcode, c.also, c.action, c.any
		if c.changer {
			f.Device = Changer
		}
	}
	switch device := w.values["device"]; device {
	case "":
	case "any":
		f.Device = AnyDrive
	case "changer":
		f.Device = Changer
	default:
		n, err := w.number("device", 0, 199)
		if err != nil {
			return err
		}
		f.Device = int(n)
	}
	f.Volume = tape.Barcode(w.values["volume"])
	n, err := w.number("nth", 1, math.MaxInt32)
	if err != nil {
		return err
	}
	f.Nth = int(n)
	if w.values["times"] == "always" {
		f.Times = -1
	} else {
		n, err := w.number("times", 1, math.MaxInt32)
		if err != nil {
			return err
		}
		f.Times = int(n)
	}
	switch w.values["after"] {
	case "", "no":
	case "yes":
		f.After = true
	default:
		return errors.Errorf("after=%s: give yes or no", w.values["after"])
	}
	return nil
}

// number reads a whole number; the least one if the key is not given.
func (w *words) number(key string, least, most int64) (int64, error) {
	v, given := w.values[key]
	if !given {
		return least, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < least || n > most {
		return least, errors.Errorf("%s=%s: give a whole number from %d to %d", key, v, least, most)
	}
	return n, nil
}

func (w *words) seconds() (time.Duration, error) {
	v := w.values["seconds"]
	s, err := strconv.ParseFloat(v, 64)
	if err != nil || !(s > 0) || s > 1e6 {
		return 0, errors.Errorf("seconds=%s: give a number above 0, up to 1000000", v)
	}
	return max(time.Duration(s*float64(time.Second)), 1), nil
}

func fillFail(f *Fault, w *words) error {
	s, err := parseSense(w.values["sense"])
	f.Sense = s
	return err
}

func fillBad(f *Fault, w *words) error {
	if w.values["device"] != "" {
		return errors.New("bad takes no \"device\": it is the volume's block")
	}
	part, block, _ := strings.Cut(w.values["block"], ":")
	p, perr := strconv.ParseUint(part, 10, 8)
	b, berr := strconv.ParseUint(block, 10, 62)
	if perr != nil || berr != nil {
		return errors.Errorf("block=%s: give PARTITION:BLOCK, such as 1:300", w.values["block"])
	}
	bad := BadBlock{Volume: f.Volume, At: tape.Position{Partition: tape.Partition(p), Block: tape.BlockNo(b)}}
	switch w.values["on"] {
	case "", "read":
		bad.Read = true
	case "write":
		bad.Write = true
	case "both":
		bad.Read, bad.Write = true, true
	default:
		return errors.Errorf("on=%s: give read, write or both", w.values["on"])
	}
	f.Effects = []Effect{{Bad: &bad}}
	return nil
}

func fillAway(f *Fault, w *words) error {
	if (w.values["commands"] == "") == (w.values["seconds"] == "") {
		return errors.New("away needs commands= or seconds=")
	}
	if w.values["seconds"] != "" {
		d, err := w.seconds()
		f.Effects = []Effect{{AwayFor: d}}
		return err
	}
	n, err := w.number("commands", 1, math.MaxInt32)
	if f.Now { // there is no command that would be the first
		n++
	}
	f.Effects = []Effect{{Away: int(n)}}
	return err
}

func fillClean(f *Fault, w *words) error {
	a := tape.AlertCleanNow
	switch w.values["urgency"] {
	case "", "now":
	case "periodic":
		a = tape.AlertCleanPeriodic
	default:
		return errors.Errorf("urgency=%s: give now or periodic", w.values["urgency"])
	}
	f.Effects = []Effect{{Dirty: a}}
	return nil
}

// senses are the answers that have a name.
var senses = map[string]scsi.Sense{
	"read-error":        {Key: scsi.MediumErrorKey, Code: scsi.CodeReadError},
	"write-error":       {Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError},
	"hardware-error":    {Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure},
	"positioning-error": {Key: scsi.HardwareKey, Code: codeArmFailed},
	"load-failed":       {Key: scsi.HardwareKey, Code: scsi.CodeLoadEjectFailed},
	"deferred-error":    {Deferred: true, Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError},
	"medium-changed":    {Key: scsi.AttentionKey, Code: scsi.CodeMediumChanged},
	"mode-changed":      {Key: scsi.AttentionKey, Code: scsi.CodeModeChanged},
	"reset":             {Key: scsi.AttentionKey, Code: scsi.CodeReset},
	"becoming-ready":    {Key: scsi.NotReadyKey, Code: scsi.CodeBecomingReady},
	"no-medium":         {Key: scsi.NotReadyKey, Code: scsi.CodeNoMedium},
	"write-protected":   {Key: scsi.ProtectKey, Code: scsi.CodeWriteProtected},
	"full":              {Key: scsi.VolumeOverflow, Code: scsi.CodeEndOfMedium, EOM: true},
	"end-of-data":       {Key: scsi.BlankCheck, Code: scsi.CodeEndOfData},
	"cleaning":          {Key: scsi.MediumErrorKey, Code: scsi.CodeCleaning},
	"protection":        {Key: scsi.AbortedCommand, Code: scsi.CodeProtectionFailed},
	"unknown-command":   {Key: scsi.IllegalKey, Code: scsi.CodeInvalidOpcode},
	"bad-field":         {Key: scsi.IllegalKey, Code: scsi.CodeInvalidField},
	"element-full":      {Key: scsi.IllegalKey, Code: scsi.CodeDestinationFull},
	"element-empty":     {Key: scsi.IllegalKey, Code: scsi.CodeSourceEmpty},
	"removal-prevented": {Key: scsi.IllegalKey, Code: scsi.CodeRemovalPrevented},
}

// parseSense reads a name, or KEY/ASC/ASCQ in hexadecimal with flags behind it: "3/0c/00",
// "0/00/02+eom", "3/0c/00+deferred".
func parseSense(v string) (scsi.Sense, error) {
	if s, ok := senses[v]; ok {
		return s, nil
	}
	bad := errors.Errorf("sense=%s: give KEY/ASC/ASCQ in hexadecimal, such as 3/0c/00, or one of %s", v, strings.Join(slices.Sorted(maps.Keys(senses)), ", "))
	numbers, flags, more := strings.Cut(v, "+")
	parts := strings.Split(numbers, "/")
	if len(parts) != 3 {
		return scsi.Sense{}, bad
	}
	var n [3]uint64
	for i, p := range parts {
		var err error
		if n[i], err = strconv.ParseUint(p, 16, 8); err != nil || i == 0 && n[i] > 15 {
			return scsi.Sense{}, bad
		}
	}
	s := scsi.Sense{Key: scsi.Key(n[0]), Code: scsi.Code(n[1]<<8 | n[2])}
	if !more {
		return s, nil
	}
	for _, flag := range strings.Split(flags, "+") {
		switch flag {
		case "deferred":
			s.Deferred = true
		case "eom":
			s.EOM = true
		case "filemark":
			s.Filemark = true
		case "ili":
			s.ILI = true
		default:
			return scsi.Sense{}, errors.Errorf("sense=%s: give +deferred, +eom, +filemark or +ili", v)
		}
	}
	return s, nil
}

// named is a command that a script can name.
type named struct {
	opcode, also, action byte
	changer, any         bool
}

var commands = map[string]named{
	"any":                 {any: true},
	"test-unit-ready":     {opcode: scsi.OpTestUnitReady},
	"inquiry":             {opcode: scsi.OpInquiry},
	"request-sense":       {opcode: scsi.OpRequestSense},
	"mode-sense":          {opcode: scsi.OpModeSense6, also: scsi.OpModeSense10},
	"mode-select":         {opcode: scsi.OpModeSelect6, also: scsi.OpModeSelect10},
	"log-sense":           {opcode: scsi.OpLogSense},
	"read-attribute":      {opcode: scsi.OpReadAttribute},
	"write-attribute":     {opcode: scsi.OpWriteAttribute},
	"prevent":             {opcode: scsi.OpPreventAllow},
	"rewind":              {opcode: scsi.OpRewind},
	"format":              {opcode: scsi.OpFormatMedium},
	"read-block-limits":   {opcode: scsi.OpReadBlockLimits},
	"read":                {opcode: scsi.OpRead6},
	"write":               {opcode: scsi.OpWrite6},
	"write-filemarks":     {opcode: scsi.OpWriteFilemarks6},
	"space":               {opcode: scsi.OpSpace6, also: scsi.OpSpace16},
	"load-unload":         {opcode: scsi.OpLoadUnload},
	"locate":              {opcode: scsi.OpLocate10, also: scsi.OpLocate16},
	"read-position":       {opcode: scsi.OpReadPosition},
	"report-density":      {opcode: 0x44},
	"allow-overwrite":     {opcode: scsi.OpAllowOverwrite},
	"security-in":         {opcode: 0xA2},
	"security-out":        {opcode: 0xB5},
	"report-opcodes":      {opcode: scsi.OpMaintenanceIn, action: 0x0C},
	"receive-order":       {opcode: scsi.OpMaintenanceIn, action: 0x1D},
	"generate-order":      {opcode: scsi.OpMaintenanceOut, action: 0x1D},
	"read-wraps":          {opcode: scsi.OpMaintenanceIn, action: 0x1F},
	"move":                {opcode: scsi.OpMoveMedium, changer: true},
	"read-elements":       {opcode: scsi.OpReadElementStatus, changer: true},
	"initialize-elements": {opcode: scsi.OpInitializeElementStatus, also: scsi.OpInitializeElementRange, changer: true},
}

// commandNamed finds a command by its name, or by its operation code as 0xNN.
func commandNamed(name string) (named, error) {
	if c, ok := commands[name]; ok {
		return c, nil
	}
	if hex, ok := strings.CutPrefix(name, "0x"); ok {
		if n, err := strconv.ParseUint(hex, 16, 8); err == nil {
			return named{opcode: byte(n)}, nil
		}
	}
	return named{}, errors.Errorf("there is no command %q: give an operation code such as 0x0a, or one of %s", name, strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
}
