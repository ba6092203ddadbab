// Package enterprise keeps the file of every production and business unit 生产经营单位, 一企一档 (R13).
//
// # The law behind
//
// 安全生产法 makes the unit itself answer for its safety (第四条), its principal first of all (第五条, 第二十一条), asks it for safety staff (第二十四条), and
// asks the supervising departments to inspect by class and grade (第六十二条 分类分级监督管理). The policy texts want it said of each unit who supervises it: “明确每个生产经营单位安全生产监督和管理主体”
// (石台 十五; 石狮 十五; 湖南 十二). So a file says who and where the unit is, what it does and what is dangerous about it, who in it answers, which class and
// grade it has and why, and which departments supervise it, from the territory (属地) and from the line (行业), with the basis of each.
//
// # Identity
//
// A unit is identified by its unified social credit code (GB 32100), checked and unique at the node; without one, by a platform number and the reason (handbook 17.6). What was
// registered twice is merged: the duplicate ends, points to the file that stays, and its event lets other modules follow. Former names stay.
//
// # Place
//
// A file lies in the division where the unit does business, on the supervised line that follows from its industry (dict.LineOf) unless another is
// stated with a reason, and belongs to itself: its own people reach it by scope.Place.EnterpriseID. Moving changes the place of the file; what was filed about it before stays where
// it was filed. Positions are kept in WGS-84 and converted at the edge (handbook 17.5).
//
// # States
//
// active ⇄ suspended → closed (→ active when that was a mistake); active, suspended → merged or withdrawn, which are final. See steps.go, where each step has its permission.
//
// # Import
//
// See imports.go, places.go and kernel/importer: a dry run judges every row by the very rules of Register and Change, the person confirms, a job applies the rows in small
// transactions and goes on where it stopped after a restart; undoing withdraws what came and restores what was changed, unless it has been changed since.
//
// # Events
//
// enterprise.registered, .changed, .moved, .graded, .assigned, .suspended, .resumed, .closed, .reopened, .merged, .withdrawn: see enterpriseapi. It listens to none.
//
// # Personal data
//
// Telephone numbers are shown in full only to holders of enterprise.personal within their reach, masked to everybody else, in history too. Names of responsible persons are shown to whoever may see
// the file: that they are known is the purpose.
//
// # Known weaknesses
//
// Names are compared by shared pairs of characters among names with the same beginning: 华东石台金鑫厂 and 金鑫厂 are not noticed as similar. Two nodes may register one
// unit; the level above sees both. Two rows of one import file with the same name, one with a code and one without, become two files. Grades follow a changed policy, and a
// certificate's expiry, when the file is next changed.
package enterprise
