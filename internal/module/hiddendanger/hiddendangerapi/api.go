// Package hiddendangerapi is what other modules may see of hidden dangers: how to report one, what an event about one carries, and its states.
package hiddendangerapi

import (
	"context"
	"time"
)

// RecordType names hidden dangers in the log, in links and in attachments.
const RecordType = "hiddendanger.item"

// Source says how a hidden danger was found (handbook §3.6).
type Source string

// The sources.
const (
	SelfInspection Source = "selfInspection" // 企业自查
	Patrol         Source = "patrol"         // 网格巡查
	Inspection     Source = "inspection"     // 执法检查
	Report         Source = "report"         // 举报
	Alarm          Source = "alarm"          // 监测报警
	Expert         Source = "expert"         // 专家检查
	Upper          Source = "upper"          // 上级交办
	Accident       Source = "accident"       // 事故教训
)

// Sources lists all sources.
var Sources = []Source{SelfInspection, Patrol, Inspection, Report, Alarm, Expert, Upper, Accident}

// Level is the grade of a hidden danger.
type Level string

// The levels. An ungraded danger has none.
const (
	Ungraded Level = ""
	General  Level = "general" // 一般事故隐患
	Major    Level = "major"   // 重大事故隐患
)

// Finding is a hidden danger as somebody found it.
type Finding struct {
	// ID is made by the finder's device when it works without a signal (UUIDv7), so that a report that is sent twice is one. Empty: the program makes one.
	ID           string    `json:"id,omitempty" maxLength:"36" doc:"离线设备生成的标识（UUIDv7），重复上报不会重复登记"`
	Source       Source    `json:"source" enum:"selfInspection,patrol,inspection,report,alarm,expert,upper,accident" doc:"来源"`
	Title        string    `json:"title" minLength:"4" maxLength:"100" doc:"隐患名称：什么部位存在什么问题"`
	Description  string    `json:"description,omitempty" maxLength:"5000" doc:"详细情况"`
	Category     string    `json:"category,omitempty" maxLength:"40" doc:"隐患类别（字典 dangerCategory）"`
	Location     string    `json:"location" minLength:"2" maxLength:"200" doc:"具体位置"`
	Division     string    `json:"division,omitempty" maxLength:"12" doc:"所在行政区划；属于企业的可不填"`
	EnterpriseID string    `json:"enterpriseId,omitempty" maxLength:"36" doc:"所属企业；空表示不属于任何企业"`
	Line         string    `json:"line,omitempty" maxLength:"40" doc:"监管行业领域；属于企业的可不填"`
	Lon          *float64  `json:"lon,omitempty" minimum:"-180" maximum:"180" doc:"经度（WGS-84）"`
	Lat          *float64  `json:"lat,omitempty" minimum:"-90" maximum:"90" doc:"纬度（WGS-84）"`
	FoundAt      time.Time `json:"foundAt,omitzero" doc:"发现时间；不填为现在"`
	Photos       []string  `json:"photos,omitempty" maxItems:"20" doc:"照片（先上传附件得到的标识）"`
	LinkType     string    `json:"linkType,omitempty" maxLength:"60" doc:"由哪类记录发现（巡查、自查等）"`
	LinkID       string    `json:"linkId,omitempty" maxLength:"36" doc:"由哪条记录发现"`
}

// Reporter takes findings in. The actor in the context is the finder, and must be allowed to report there. It joins a transaction that ctx is in. A finding whose ID is
// known already changes nothing and returns the same id.
type Reporter interface {
	Report(ctx context.Context, f Finding) (id string, err error)
}

// Danger is the part of a hidden danger that events carry and others may rely on.
type Danger struct {
	ID           string    `json:"id"`
	Origin       string    `json:"origin"`
	Version      int64     `json:"version"`
	No           string    `json:"no"`
	Title        string    `json:"title"`
	Level        Level     `json:"level"`
	State        string    `json:"state"`
	Source       Source    `json:"source"`
	Category     string    `json:"category"`
	Division     string    `json:"division"`
	Line         string    `json:"line"`
	EnterpriseID string    `json:"enterpriseId"`
	DueAt        time.Time `json:"dueAt"`
	LinkType     string    `json:"linkType"`
	LinkID       string    `json:"linkId"`
	FoundBy      Person    `json:"foundBy"`
}

// Person is somebody who acted, as the log knows them.
type Person struct {
	ID   string `json:"id"` // account
	Name string `json:"name"`
	Unit string `json:"unit"`
}
