// Package grid is grid supervision 网格化监管 (R03): the grids inside a village or town, who patrols them, what is to be
// patrolled and how often, the patrols with their tracks, and the five duties of the village inspector.
//
// # The law behind it
//
//   - 石台县实施意见（十）: 村（社区）网格化建设; 在行政村（社区）配备安全生产检查员（网格员），负责做好日常巡查、劝导、制止、报告、宣传等工作 [S0].
//   - 石狮市实施意见（九）: 对发现的重大安全隐患、非法生产经营建设行为，及时向镇（街道）或有关部门报告 [S1]. Hence the alert to the town
//     office, in the transaction of the act, when a danger looks serious, when somebody reports, and when dissuading or stopping was refused.
//   - 湖南省实施意见（十一）: 村（社区）应当设立安全生产监管员，履行规定的排查发现、劝阻报告、协助执法、宣传教育等职责 [S2].
//   - 吉林省实施意见（十）: 行政村（社区）配备安全生产检查员，在乡镇政府和有关主管部门的指导下开展工作; （二十四）: 安全生产网格化监管 in 一张网 [S3].
//   - 个人信息保护法 第二十八条: the positions of grid officers are sensitive. A track is stored as a [record.Secret]: log, events and other nodes get
//     its digest only. It is shown to the officer, and to holders of grid.track in that territory (by default the town office) with a log entry for each look.
//     Everybody else sees counts.
//
// No text says how often a place is patrolled: frequencies are dated policy data (kernel/policy, [Policy]) with proposed defaults [P].
//
// # Records
//
//   - [Item] the grid, active → retired; [Boundary] its area, dated; [Duty] its officer and deputy, dated; [Absence] when the deputy covers.
//   - [Site] what is patrolled. An enterprise's site is a copy kept by the events of its module; it lies in at most one grid. Other places are entered here.
//   - [Task] one patrol owed to a site in a period. "Missed" is not a state: it is open with its end in the past. Its clock runs in kernel/deadline.
//   - [Patrol] started → finished | abandoned; [Visit] one site on the way, with the proof that the phone was there.
//   - [Action] one exercise of one of the five duties: recorded, or escalated → acknowledged by the town.
//
// # Phones without a signal
//
// Patrols, visits and actions carry identifiers that the phone made (UUIDv7). What arrives twice changes nothing, actions may arrive before or after their
// patrol. Both clocks are kept. X-Client-Time, the phone's clock at the moment of sending, tells how wrong the phone's clock is; where that is more than the
// policy tolerates, the phone's times are corrected by it before a deadline is judged. What arrives after the end of a task counts as in time only when the track
// proves the visit.
//
// # Events
//
// Out: grid.created, grid.changed, grid.bounded, grid.unbounded, grid.retired, grid.appointed, grid.dutyEnded, grid.absent, grid.placeAdded, grid.placeChanged, grid.placeAssigned, grid.placeClosed,
// grid.taskPlanned, grid.taskDone, grid.taskReassigned, grid.taskCancelled, grid.patrolStarted, grid.patrolFinished, grid.patrolAbandoned, grid.visited, grid.visitConfirmed,
// grid.actionTaken, grid.actionEscalated, grid.actionAcknowledged. In: enterprise.* (copies of enterprises). Looks at
// tracks are log entries grid.trackViewed, which are no events.
//
// # Known weakness
//
// A phone whose clock is set back for the length of a patrol and put right before sending is not noticed, unless the patrol was started online. Boundaries of
// two grids may overlap; a point in both belongs to the smaller one.
package grid
