// Package policy decides how a file is archived: in which pools its copies are to be,
// when it is due, and what it is to lie beside. It is pure: what it has to know of the
// file comes as a File, and it knows no catalog and no clock.
//
// # How it decides
//
// The rules of the configuration are looked at in their order; the first one whose
// conditions all hold says everything. What it does not say, and everything if none
// holds, is as Rules.Default has it. Then come the settings of the directories on the way
// to the file, from the root down: each is the name of a rule, which takes the place of what
// was decided so far whatever its conditions, or changes single things.
package policy
