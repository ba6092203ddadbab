// Package gridapi is what other modules may see of grids: who answers for a place, and what the events of grid supervision carry.
package gridapi

import (
	"context"
	"time"
)

// The types of record, as they are named in the log, in links and in attachments.
const (
	ItemType   = "grid.item"
	PlaceType  = "grid.place"
	TaskType   = "grid.task"
	PatrolType = "grid.patrol"
	VisitType  = "grid.visit"
	ActionType = "grid.action"
)

// Rank is a person's position in a grid.
type Rank string

// The ranks.
const (
	Officer Rank = "officer" // 网格员
	Deputy  Rank = "deputy"  // 代理网格员
)

// DutyKind is one of the five duties of the village inspector (石台县实施意见 十).
type DutyKind string

// The five duties.
const (
	Find      DutyKind = "find"      // 发现
	Dissuade  DutyKind = "dissuade"  // 劝导
	Stop      DutyKind = "stop"      // 制止
	Report    DutyKind = "report"    // 报告
	Publicise DutyKind = "publicise" // 宣传
)

// Duties lists the five duties.
var Duties = []DutyKind{Find, Dissuade, Stop, Report, Publicise}

// Answer says who answers for a place on a day.
type Answer struct {
	GridID   string `json:"gridId"`
	Code     string `json:"code"`
	Name     string `json:"name"`
	Division string `json:"division"`
	// PersonID is the officer, or the deputy while the officer is absent; empty when nobody is there, and then the town office has to answer.
	PersonID   string `json:"personId"`
	PersonName string `json:"personName"`
	Rank       Rank   `json:"rank"`
}

// Router finds the grid and the person for alarms, reports and hidden dangers. It answers whatever the caller's rights are: it is for the program's own work.
type Router interface {
	// Locate answers for a position in WGS-84 on the day of at, by the boundaries that held then; nil when no grid covers it.
	Locate(ctx context.Context, lon, lat float64, at time.Time) (*Answer, error)
	// OfEnterprise answers for an enterprise as it is assigned now, with the person of the day of at; nil when it lies in no grid.
	OfEnterprise(ctx context.Context, enterpriseID string, at time.Time) (*Answer, error)
}

// Action is the part of grid.actionTaken, grid.actionEscalated and grid.actionAcknowledged that others may rely on.
type Action struct {
	ID           string    `json:"id"`
	Version      int64     `json:"version"`
	Division     string    `json:"division"`
	TownCode     string    `json:"townCode"`
	Line         string    `json:"line"`
	EnterpriseID string    `json:"enterpriseId"`
	GridID       string    `json:"gridId"`
	PatrolID     string    `json:"patrolId"`
	Target       string    `json:"target"`
	Duty         DutyKind  `json:"duty"`
	What         string    `json:"what"`
	Result       string    `json:"result"`
	Serious      bool      `json:"serious"`
	At           time.Time `json:"at"`
	OfficerID    string    `json:"officerId"`
	OfficerName  string    `json:"officerName"`
	DangerID     string    `json:"dangerId"`
	State        string    `json:"state"`
}

// Patrol is the part of grid.patrolFinished that others may rely on. Where the officer walked is not in it.
type Patrol struct {
	ID          string    `json:"id"`
	Version     int64     `json:"version"`
	Division    string    `json:"division"`
	GridID      string    `json:"gridId"`
	OfficerID   string    `json:"officerId"`
	OfficerName string    `json:"officerName"`
	StartedAt   time.Time `json:"startedAt"`
	FinishedAt  time.Time `json:"finishedAt"`
	Metres      int       `json:"metres"`
	Minutes     int       `json:"minutes"`
	Visits      int       `json:"visits"`
}
