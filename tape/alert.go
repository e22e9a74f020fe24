package tape

import "fmt"

// Alert is a TapeAlert flag: 1 to 64 (SSC-4, the TapeAlert log page).
type Alert uint8

// Flags that something is decided by.
const (
	AlertReadFailure       Alert = 5
	AlertWriteFailure      Alert = 6
	AlertMediumLife        Alert = 7
	AlertNotDataGrade      Alert = 8
	AlertNearingMediumLife Alert = 19
	AlertCleanNow          Alert = 20
	AlertCleanPeriodic     Alert = 21
	AlertCleaningExpired   Alert = 22
	AlertCleaningInvalid   Alert = 23
	AlertWORMOverwrite     Alert = 60
)

// AlertAbout says what an alert speaks of, and so what to do.
type AlertAbout uint8

// What alerts speak of.
const (
	AboutNothing  AlertAbout = iota // information, or an obsolete flag: nothing to do
	AboutEither                     // medium or drive: try the volume in another drive
	AboutMedium                     // the cartridge: copy it, or do not use it here
	AboutDrive                      // the drive: have it serviced
	AboutLibrary                    // the changer, or the way to it
	AboutCleanNow                   // the drive must be cleaned before it goes on
	AboutCleaning                   // the drive should be cleaned when there is time
	AboutCleaner                    // the cleaning cartridge is used up, or is none
)

var aboutNames = [...]string{"nothing", "medium or drive", "medium", "drive", "library", "clean now", "clean periodically", "cleaning cartridge"}

func (a AlertAbout) String() string {
	if int(a) < len(aboutNames) {
		return aboutNames[a]
	}
	return fmt.Sprintf("about(%d)", uint8(a))
}

// Severity of an alert, as the standard grades it.
type Severity uint8

// Severities.
const (
	Information Severity = iota // I: nothing is lost
	Warning                     // W: data or performance may suffer
	Critical                    // C: data is at risk now
)

func (s Severity) String() string {
	if s > Critical {
		return fmt.Sprintf("severity(%d)", uint8(s))
	}
	return [...]string{"information", "warning", "critical"}[s]
}

// alerts is the one table of TapeAlert flags; the first is flag 1. A flag without a
// name is reserved.
var alerts = [64]struct {
	name     string
	severity Severity
	about    AlertAbout
}{
	{"read warning", Warning, AboutEither},
	{"write warning", Warning, AboutEither},
	{"hard error", Warning, AboutEither},
	{"medium", Critical, AboutMedium},
	{"read failure", Critical, AboutEither},
	{"write failure", Critical, AboutEither},
	{"medium life", Warning, AboutMedium},
	{"not data grade", Warning, AboutMedium},
	{"write protect", Critical, AboutNothing},
	{"medium removal prevented", Information, AboutNothing},
	{"cleaning medium", Information, AboutNothing},
	{"unsupported format", Information, AboutMedium},
	{"recoverable mechanical cartridge failure", Critical, AboutMedium},
	{"unrecoverable mechanical cartridge failure", Critical, AboutMedium},
	{"memory chip in cartridge failure", Warning, AboutMedium},
	{"forced eject", Critical, AboutNothing},
	{"read only format", Warning, AboutNothing},
	{"tape directory corrupted on load", Warning, AboutMedium},
	{"nearing medium life", Information, AboutMedium},
	{"clean now", Critical, AboutCleanNow},
	{"clean periodic", Warning, AboutCleaning},
	{"expired cleaning medium", Critical, AboutCleaner},
	{"invalid cleaning medium", Critical, AboutCleaner},
	{"retension requested", Warning, AboutMedium},
	{"multi-port interface error", Warning, AboutDrive},
	{"cooling fan failure", Warning, AboutDrive},
	{"power supply failure", Warning, AboutDrive},
	{"power consumption", Warning, AboutDrive},
	{"drive preventive maintenance required", Warning, AboutDrive},
	{"hardware A", Critical, AboutDrive},
	{"hardware B", Critical, AboutDrive},
	{"primary interface", Warning, AboutDrive},
	{"eject medium", Critical, AboutDrive},
	{"microcode update failure", Warning, AboutDrive},
	{"drive humidity", Warning, AboutDrive},
	{"drive temperature", Warning, AboutDrive},
	{"drive voltage", Warning, AboutDrive},
	{"predictive failure", Critical, AboutDrive},
	{"diagnostics required", Warning, AboutDrive},
	{"loader hardware A", Critical, AboutLibrary},
	{"loader stray tape", Critical, AboutLibrary},
	{"loader hardware B", Warning, AboutLibrary},
	{"loader door", Critical, AboutLibrary},
	{"loader hardware C", Critical, AboutLibrary},
	{"loader magazine", Critical, AboutLibrary},
	{"loader predictive failure", Warning, AboutLibrary},
	{},
	{},
	{"diminished native capacity", Warning, AboutMedium},
	{"lost statistics", Warning, AboutNothing},
	{"tape directory invalid at unload", Warning, AboutMedium},
	{"tape system area write failure", Critical, AboutMedium},
	{"tape system area read failure", Critical, AboutMedium},
	{"no start of data", Critical, AboutMedium},
	{"loading or threading failure", Critical, AboutEither},
	{"unrecoverable unload failure", Critical, AboutDrive},
	{"automation interface failure", Critical, AboutLibrary},
	{"microcode failure", Warning, AboutDrive},
	{"WORM medium: integrity check failed", Warning, AboutMedium},
	{"WORM medium: overwrite attempted", Warning, AboutMedium},
	{"encryption policy violation", Warning, AboutNothing},
	{},
	{},
	{},
}

// Valid reports whether a is a number that a flag can have.
func (a Alert) Valid() bool { return a >= 1 && a <= 64 }

func (a Alert) String() string {
	if a.Valid() && alerts[a-1].name != "" {
		return alerts[a-1].name
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

// Severity grades the flag; one that is reserved is Information.
func (a Alert) Severity() Severity {
	if !a.Valid() {
		return Information
	}
	return alerts[a-1].severity
}

// About says what the flag speaks of.
func (a Alert) About() AlertAbout {
	if !a.Valid() {
		return AboutNothing
	}
	return alerts[a-1].about
}
