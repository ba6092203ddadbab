// Package deadline computes every time limit of the law from the fact that starts it, shows it with its clause, and climbs a
// ladder of people when it passes.
//
// # Calendar
//
// Working days are Monday to Friday, but for the days off and make-up working days that a notice of the State Council's
// General Office announces for each year. They are records, one a date, seeded from the shipped table and edited by the
// administrator ([Book.SetDay], [Book.ImportYear]). What is computed beyond the last published year is marked provisional. A notice may
// also move the last days of the year before (it did in 2006, 2007, 2011, 2018 and 2022, never before 29 December), so
// those days are settled only by the next year's notice.
//
// # Counting
//
// A [Term] says how much time and in which unit; [Compute] is the one place that counts. Hours run from the moment itself. In all
// other units the day of the starting fact is not counted, the period ends at 24:00 of its last day in Shanghai, and
// when the last day is a day off at 24:00 of the first working day after it (民法典 第二百条至第二百零三条; 行政处罚法
// 第八十五条 for working days). A month ends on the day with the same number, or on the month's last day. Everything is cut
// to whole seconds. An act at the very end of the period is in time.
//
// # Deadlines
//
// An [Item] hangs on a record of a module and keeps the edition of the [Rule] by which it was begun. Modules call
// [Book.Start], [Book.Meet] and the others inside their own transaction, after checking their own permission. There is
// at most one running deadline for a record and slot; ended ones stay as evidence.
//
// A pause keeps what was left. Hours: the seconds between the pause and the end. Other units: the days (working
// days for a term in working days) after the day of the pause up to the last day, before that day was moved off a holiday; on
// resuming they are counted on from the day after, as a new period would be. So the day of the pause counts as used and the day
// of resuming is not counted. The sum is taken again from these facts when the calendar changes.
//
// # Ladder
//
// Each [Rung] lies before or after the end. [Book.Sweep] moves an item past every rung whose time has come, one log entry
// "deadline.escalated" each, in the transaction that moves it: once per rung, however many processes sweep and
// whenever they die. After a long standstill the rungs that passed meanwhile fire one after another, in order. Rungs that lie before
// the starting fact are skipped. When the end moves later (extension, pause, calendar), the rungs that now lie ahead
// again will fire again, for the new end.
//
// # When the calendar changes
//
// [Book.Recompute] judges every running item again, and writes those that differ with an entry "deadline.recomputed".
// An item that was begun while the calendar was being edited cannot be missed: beginning holds a shared lock on the
// calendar's version on PostgreSQL, and SQLite has one writer. Ended items keep the judgement they got.
//
// # Known weakness
//
// Before 2007 the table knows no holidays: periods that end there are counted by weekdays alone.
package deadline
