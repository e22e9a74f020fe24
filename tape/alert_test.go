package tape

import "testing"

func TestAlerts(t *testing.T) {
	seen := map[string]Alert{}
	for a := Alert(1); a.Valid(); a++ {
		if before, twice := seen[a.String()]; twice {
			t.Errorf("%d and %d are both %v", before, a, a)
		}
		seen[a.String()] = a
	}
	for name, want := range map[string]struct {
		a Alert
		s Severity
		b AlertAbout
	}{
		"read failure":                          {AlertReadFailure, Critical, AboutEither},
		"medium life":                           {AlertMediumLife, Warning, AboutMedium},
		"nearing medium life":                   {AlertNearingMediumLife, Information, AboutMedium},
		"clean now":                             {AlertCleanNow, Critical, AboutCleanNow},
		"clean periodic":                        {AlertCleanPeriodic, Warning, AboutCleaning},
		"expired cleaning medium":               {AlertCleaningExpired, Critical, AboutCleaner},
		"invalid cleaning medium":               {AlertCleaningInvalid, Critical, AboutCleaner},
		"hardware B":                            {31, Critical, AboutDrive},
		"predictive failure":                    {38, Critical, AboutDrive},
		"lost statistics":                       {50, Warning, AboutNothing},
		"loading or threading failure":          {55, Critical, AboutEither},
		"WORM medium: overwrite attempted":      {AlertWORMOverwrite, Warning, AboutMedium},
		"alert 62":                              {62, Information, AboutNothing},
		"automation interface failure":          {57, Critical, AboutLibrary},
		"tape system area read failure":         {53, Critical, AboutMedium},
		"multi-port interface error":            {25, Warning, AboutDrive},
		"loader predictive failure":             {46, Warning, AboutLibrary},
		"memory chip in cartridge failure":      {15, Warning, AboutMedium},
		"drive preventive maintenance required": {29, Warning, AboutDrive},
	} {
		if seen[name] != want.a || want.a.Severity() != want.s || want.a.About() != want.b {
			t.Errorf("%s is %d, %v, about %v; want %+v", name, seen[name], want.a.Severity(), want.a.About(), want)
		}
	}
	for _, a := range []Alert{0, 65, 255} {
		if a.Valid() || a.About() != AboutNothing || a.Severity() != Information {
			t.Errorf("%v is a flag", a)
		}
	}
	if AboutCleaner.String() != "cleaning cartridge" || AlertAbout(99).String() != "about(99)" || Severity(9).String() != "severity(9)" {
		t.Error("names of what alerts are about")
	}
}
