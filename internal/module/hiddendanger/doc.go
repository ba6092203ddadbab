// Package hiddendanger runs the closed loop of hidden dangers (事故隐患): found, graded, ordered to be rectified, rectified, verified, closed, with every step in scope,
// on the legal clock and in the log (rows R22 and R23).
//
// # The law behind it
//
// 安全生产法 第四十一条: the enterprise finds, rectifies, records truthfully, tells its workers; major ones are reported to the department and to the
// workers' congress (双报告). 第六十五条: the department orders immediate removal; for major ones it has people withdrawn and production suspended, to be resumed only after review and
// consent. 总局令第16号: the plan of a major one (第十五条), the review of a resumption within 10 days (第二十三条). The four policy texts add 自查自改自报, 非现场监管, 一单四制, graded 挂牌督办, acceptance by
// a third party, and ownerless dangers with a designated unit and a special fund (石台县 二十一; 湖南省 十八).
//
// # States
//
// See docs/modules/hiddendanger.md, drawn from the declaration in flow.go. General and major dangers share the machine; what a major one needs more (plan with the
// five implementations, both reports with receipts, third-party acceptance, consent to resume) are guards of its steps. Whoever rectified never verifies: the step's guard
// refuses it, and so does a constraint of the table.
//
// A major danger that an enterprise finds itself and reports truthfully is no violation only for having been found; so no step here leads into a penalty case by itself.
//
// # Check lists
//
// Check lists by industry are versioned. Enterprises run them on a schedule, and an empty result is a report too (零报告). Who reported nothing, or late, is a list of its own that
// nobody has to compile (非现场监管).
//
// # Events
//
// Every change is an event "hiddendanger.…" with the whole record. It listens to enterprise events (names, merges) and to "deadline.escalated".
package hiddendanger
