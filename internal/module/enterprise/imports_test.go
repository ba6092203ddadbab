package enterprise

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"

	"anwang/internal/kernel/actor"
	"anwang/internal/lib/tabular"
	"anwang/internal/module/enterprise/enterpriseapi"
)

// imports uploads a file as somebody and waits for the dry run.
func (w *world) imports(who, name, content string) obj {
	w.t.Helper()
	up, err := w.files.Upload(w.as(who), name, strings.NewReader(content))
	if err != nil {
		w.t.Fatal(err)
	}
	v := w.must(201, who, "POST", "/imports/enterprises", obj{"fileId": up.ID})
	w.work()
	return w.must(200, who, "GET", "/imports/enterprises/"+v["id"].(string), nil)
}

func (w *world) work() {
	w.t.Helper()
	for _, id := range w.waiting {
		if err := w.importer.Work(w.t.Context(), id, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	w.waiting = nil
}

// step takes a step on an import and waits for what follows.
func (w *world) step(who string, v obj, name string, in obj) obj {
	w.t.Helper()
	in["version"] = v["version"]
	at := "/imports/enterprises/" + v["id"].(string)
	w.must(200, who, "POST", at+"/"+name, in)
	w.work()
	return w.must(200, who, "GET", at, nil)
}

// wrong are the problems of an import: row, column and message of each.
func (w *world) wrong(who string, v obj) []string {
	w.t.Helper()
	var out []string
	for _, f := range w.must(200, who, "GET", "/imports/enterprises/"+v["id"].(string)+"/rows?action=error&limit=200", nil)["items"].([]any) {
		for _, p := range f.(obj)["problems"].([]any) {
			out = append(out, fmt.Sprintf("%v %s：%s", f.(obj)["row"], p.(obj)["title"], p.(obj)["message"]))
		}
	}
	return out
}

func counts(v obj, stage string) string {
	c := v[stage].(obj)
	return fmt.Sprintf("%v=%v+%v~%v=%v!", c["rows"], c["create"], c["update"], c["same"], c["errors"])
}

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		known := w.register(1, obj{"people": []obj{{"role": "principal", "name": "王小明", "phone": "13812345678"}}, "scale": "small"})
		v := w.imports("office", "企业.csv", "石台县企业台账\n企业名称*,统一社会信用代码,无信用代码原因,行业代码,所在乡镇,村（社区）,地址,经度,纬度,坐标系,企业规模,法人,主要负责人,联系电话,安全员,职工人数,涉及的重点风险,备注\n"+
			"石台县甲化工有限公司,"+code(11)+",,2614,仁里镇,马村,仁里镇1号,117.4931,30.2097,高德,小型,张三,张三,13900000001,赵一、钱二,50,涉爆粉尘、有限空间作业,x\n"+
			"石台县乙茶厂,,个体未办照,精制茶加工,七都镇,,,,,,微,,李四,0566-6022222,,5,,\n"+
			"石台县第1金属制品有限公司,"+code(1)+",,,仁里镇,,和平路1号,,,,大型,,,13900000009,,,,\n")
		if v["state"] != "checked" || counts(v, "checked") != "3=2+1~0=0!" || fmt.Sprint(v["unknownColumns"]) != "[备注]" {
			t.Fatalf("dry run: %v\n%s", v, strings.Join(w.wrong("office", v), "\n"))
		}
		rows := w.must(200, "office", "GET", "/imports/enterprises/"+v["id"].(string)+"/rows?action=update", nil)["items"].([]any)
		if s := fmt.Sprint(rows[0].(obj)["changes"]); s != "[map[after:和平路1号 before:仁里镇和平路1号 title:经营地址] map[after:大型 before:小型 title:企业规模] map[after:王小明 139****0009 before:王小明 138****5678 title:主要负责人]]" {
			t.Errorf("changes %s", s)
		}
		v = w.step("office", v, "confirm", obj{})
		if v["state"] != "applied" || counts(v, "applied") != "3=2+1~0=0!" {
			t.Fatalf("applied: %v", v)
		}
		l := w.must(200, "office", "GET", "/enterprises?importId="+v["id"].(string)+"&sort=-name", nil)["items"].([]any)
		if len(l) != 2 {
			t.Fatalf("imported %v", l)
		}
		e := w.must(200, "office", "GET", "/enterprises/"+l[0].(obj)["id"].(string), nil)
		for key, want := range (obj{"name": "石台县甲化工有限公司", "line": "hazchem", "industry": "C2614", "division": village, "scale": "small", "source": "import", "employees": 50.0, "class": "highRisk", "givenCrs": "gcj02"}) {
			if e[key] != want {
				t.Errorf("%s = %v, want %v", key, e[key], want)
			}
		}
		if p := w.load(e["id"].(string)).People; len(p) != 4 || p[0].Role != LegalRepresentative || p[1].Phone != "13900000001" || p[3].Name != "钱二" {
			t.Errorf("people %+v", p)
		}
		if e := w.must(200, "office", "GET", "/enterprises/"+l[1].(obj)["id"].(string), nil); e["number"] != "341722-N000001" || e["townCode"] != otherTown || e["industry"] != "C1530" {
			t.Errorf("without code %v", e)
		}
		k := w.load(known)
		if k.Version != 2 || k.Address != "和平路1号" || k.Scale != "large" || k.People[0].Name != "王小明" || k.People[0].Phone != "13900000009" || k.Industry != "C3311" {
			t.Errorf("updated %+v", k)
		}
		h := w.must(200, "office", "GET", "/enterprises/"+known+"/history", nil)["items"].([]any)[0].(obj)
		if h["title"] != "导入更新" || h["actor"] != "office" {
			t.Errorf("history %v", h)
		}

		// The same file again changes nothing.
		same := w.imports("office", "企业.csv", "企业名称,统一社会信用代码,所在乡镇,经营地址\n石台县甲化工有限公司,"+code(11)+",仁里镇,仁里镇1号\n石台县乙茶厂,,七都镇,\n")
		if counts(same, "checked") != "2=0+0~2=0!" {
			t.Errorf("again: %v %s", same["checked"], w.wrong("office", same))
		}
		w.must(409, "office", "POST", "/imports/enterprises/"+same["id"].(string)+"/confirm", obj{"version": same["version"]})

		// A code is added to a file that had none, and undoing takes everything back but what has been changed since.
		added := w.imports("office", "企业.csv", "企业名称,统一社会信用代码,所在乡镇\n石台县乙茶厂,"+code(12)+",七都镇\n")
		if counts(added, "checked") != "1=0+1~0=0!" {
			t.Fatalf("added: %v %s", added["checked"], w.wrong("office", added))
		}
		added = w.step("office", added, "confirm", obj{})
		tea := l[1].(obj)["id"].(string)
		if w.load(tea).USCC != code(12) {
			t.Error("the code was not added")
		}
		v = w.step("office", v, "undo", obj{"reason": "导错了"})
		if u := v["undone"].(obj); v["state"] != "undone" || u["rows"] != 2.0 || u["kept"] != 1.0 {
			t.Errorf("undone: %v", v)
		}
		kept := w.must(200, "office", "GET", "/imports/enterprises/"+v["id"].(string)+"/rows?kept=true", nil)["items"].([]any)
		if len(kept) != 1 || kept[0].(obj)["recordId"] != tea {
			t.Errorf("kept %v", kept)
		}
		if k := w.load(known); k.Version != 3 || k.Address != "仁里镇和平路1号" || k.People[0].Phone != "13812345678" {
			t.Errorf("restored %+v", k)
		}
		gone := w.load(e["id"].(string))
		if gone.State != withdrawn || w.must(200, "office", "GET", "/enterprises", nil)["total"] != 2.0 {
			t.Errorf("withdrawn %+v", gone)
		}
		if f := w.facts(gone.ID); f[len(f)-1] != enterpriseapi.EventWithdrawn {
			t.Errorf("facts %v", f)
		}
		w.must(201, "office", "POST", "/enterprises", factory(11)) // the code is free again
		added = w.step("office", added, "undo", obj{"reason": "导错了"})
		if u := added["undone"].(obj); u["rows"] != 1.0 || w.load(tea).USCC != "" || w.load(tea).IDKind != withoutUSCC {
			t.Errorf("undone: %v", added)
		}
		w.verify()
	})
}

func TestImportErrors(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(1, obj{"division": otherTown})
		w.must(200, "office", "POST", "/enterprises/"+w.register(2)+"/close", obj{"version": 1, "reason": "注销"})
		w.register(3, obj{"uscc": "", "noUsccReason": "x", "name": "同名厂"})
		w.register(4, obj{"uscc": "", "noUsccReason": "x", "name": "同名厂", "division": village})
		long := strings.Repeat("长", 300)
		head := "企业名称,统一社会信用代码,无信用代码原因,行业代码,行政区划代码,所在乡镇/村,经营地址,经度,纬度,坐标系,企业规模,主要负责人,联系电话,从业人数,监管行业领域,涉及的重点风险\n"
		lines := []struct{ cells, want string }{
			{",," + ",C3311,,仁里镇,,,,,,,,,,", "企业名称：请填写"},
			{"甲," + code(21) + ",,C3311,,仁里镇,,,,,,,,,,", "企业名称：至少 2 个字"},
			{"甲厂,123,,C3311,,仁里镇,,,,,,,,,,", "统一社会信用代码：统一社会信用代码应为 18 位"},
			{"甲厂,9.13417E+17,,C3311,,仁里镇,,,,,,,,,,", "统一社会信用代码："},
			{"甲厂,,,C3311,,仁里镇,,,,,,,,,,", "统一社会信用代码：请填写统一社会信用代码"},
			{"甲厂," + code(22) + ",,C9999,,仁里镇,,,,,,,,,,", "行业代码："},
			{"甲厂," + code(23) + ",,,,仁里镇,,,,,,,,,,", "行业代码：请填写"},
			{"甲厂," + code(24) + ",,C3311,341722999,,,,,,,,,,,", "行政区划代码：没有这个行政区划"},
			{"甲厂," + code(25) + ",,C3311,,桃花源镇,,,,,,,,,,", "所在乡镇/村：在您的管辖范围内没有“桃花源镇”"},
			{"甲厂," + code(26) + ",,C3311,,,,,,,,,,,,", "所在乡镇/村：请填写所在乡镇/村"},
			{"甲厂," + code(27) + ",,C3311,341721100,,,,,,,,,,,", "行政区划代码"},
			{"甲厂," + code(28) + ",,C3311,,仁里镇," + long + ",,,,,,,,,", "经营地址：最多 200 个字"},
			{"甲厂," + code(29) + ",,C3311,,仁里镇,,30.2,117.5,,,,,,,", "经度：经纬度可能填反"},
			{"甲厂," + code(30) + ",,C3311,,仁里镇,,117.5,,,,,,,,", "纬度：应为小数形式的度"},
			{"甲厂," + code(31) + ",,C3311,,仁里镇,,117°29′,30°12′,,,,,,,", "经度：应为小数形式的度"},
			{"甲厂," + code(32) + ",,C3311,,仁里镇,,117.5,30.2,火星文,,,,,,", "坐标系：应为 WGS-84"},
			{"甲厂," + code(33) + ",,C3311,,仁里镇,,,,,巨型,,,,,", "企业规模：“巨型”不在代码表中"},
			{"甲厂," + code(34) + ",,C3311,,仁里镇,,,,,,王五,123,,,", "联系电话：电话号码"},
			{"甲厂," + code(39) + ",,C3311,,仁里镇,,,,,,,13800000000,,,", "联系电话：没有填写是谁的电话"},
			{"甲厂," + code(35) + ",,C3311,,仁里镇,,,,,,,,许多,,", "从业人数：应为整数"},
			{"甲厂," + code(36) + ",,C3311,,仁里镇,,,,,,,,,燃气,", "监管行业领域：“燃气”不在代码表中"},
			{"甲厂," + code(37) + ",,C3311,,仁里镇,,,,,,,,,城镇燃气,", "指定监管领域理由：由行业代码推出"},
			{"甲厂," + code(38) + ",,C3311,,仁里镇,,,,,,,,,,独角兽", "涉及的重点风险：“独角兽”不在"},
			{"甲厂," + code(2) + ",,C3311,,仁里镇,,,,,,,,,,", "统一社会信用代码：该企业已注销或关闭"},
			{"同名厂,,没有,C3311,,仁里镇,,,,,,,,,,", "统一社会信用代码：本县有 2 家企业名称相同"},
			{"好厂," + code(40) + ",,C3311,,石台县仁里镇马村,,,,,,,,,,", ""},
			{"坏厂," + code(40) + ",,C3311,,仁里镇,,,,,,,,,,", "：与第 27 行重复，请只保留一行"},
		}
		var file strings.Builder
		file.WriteString(head)
		for _, l := range lines {
			file.WriteString(l.cells + "\n")
		}
		v := w.imports("office", "坏.csv", file.String())
		if counts(v, "checked") != fmt.Sprintf("%d=1+0~0=%d!", len(lines), len(lines)-1) {
			t.Errorf("dry run: %v %v", v["checked"], v["message"])
		}
		wrong := w.wrong("office", v)
		for i, l := range lines {
			if l.want == "" {
				continue
			}
			found := false
			for _, p := range wrong {
				row, rest, _ := strings.Cut(p, " ")
				found = found || row == fmt.Sprint(i+2) && strings.HasPrefix(rest, l.want)
			}
			if !found {
				t.Errorf("row %d: want %q", i+2, l.want)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(wrong, "\n"))
		}
		w.must(409, "office", "POST", "/imports/enterprises/"+v["id"].(string)+"/confirm", obj{"version": v["version"]})
		v = w.step("office", v, "confirm", obj{"onlyValid": true})
		if counts(v, "applied") != fmt.Sprintf("%d=1+0~0=%d!", len(lines), len(lines)-1) {
			t.Errorf("applied: %v", v)
		}
		w.must(200, "office", "GET", "/imports/enterprises/"+v["id"].(string)+"/errors.xlsx", nil)

		// Two rows that mean one file: by its code, and by its name.
		v = w.imports("office", "同.csv", head+"石台县第1金属制品有限公司,"+code(1)+",,,,,甲路1号,,,,,,,,,\n石台县第1金属制品有限公司,,,,,七都镇,乙路1号,,,,,,,,,\n")
		if got := strings.Join(w.wrong("office", v), "|"); counts(v, "checked") != "2=0+1~0=1!" || got != "3 ：与第 2 行对应同一条已登记的记录，请只保留一行" {
			t.Errorf("two rows for one file: %v %s", v["checked"], got)
		}

		// What lies out of the importer's reach is not touched and not described.
		v = w.imports("town", "外.csv", head+"甲厂,"+code(1)+",,C3311,,,,,,,,,,,,\n乙厂,"+code(51)+",,C3311,"+otherTown+",,,,,,,,,,,\n丙厂,"+code(52)+",,C3311,,七都镇,,,,,,,,,,\n丁厂,"+code(53)+",,C3311,,马村,,,,,,,,,,\n戊厂,"+code(54)+",,C3311,,,,,,,,,,,,\n")
		if got := strings.Join(w.wrong("town", v), "|"); counts(v, "checked") != "5=2+0~0=3!" || strings.Contains(got, "金属") ||
			!strings.Contains(got, "2 统一社会信用代码：已由其他地区或部门登记") || !strings.Contains(got, "3 行政区划代码：该地区或行业不在您的管辖范围内") || !strings.Contains(got, "4 所在乡镇/村：在您的管辖范围内没有“七都镇”") {
			t.Errorf("town: %v %s", v["checked"], got)
		}
		v = w.imports("gas", "线.csv", head+"甲厂,"+code(61)+",,C3311,,仁里镇,,,,,,,,,,\n乙气站,"+code(62)+",,D4511,,仁里镇,,,,,,,,,,\n")
		if got := w.wrong("gas", v); counts(v, "checked") != "2=1+0~0=1!" {
			t.Errorf("gas: %v %s", v["checked"], got)
		}
		// A run is seen where it was made.
		for who, want := range map[string]int{"gas": 200, "office": 200, "trade": 404, "otherTown": 404, "otherCounty": 404, "system": 403, "": 401} {
			w.must(want, who, "GET", "/imports/enterprises/"+v["id"].(string), nil)
		}
		w.verify()
	})
}

func TestImportEncodings(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		table := "企业名称,统一社会信用代码,行业代码,所在乡镇/村\n石台县甲厂," + code(1) + ",C3311,仁里镇\n"
		gbk, err := simplifiedchinese.GB18030.NewEncoder().String(table)
		if err != nil {
			t.Fatal(err)
		}
		var x bytes.Buffer
		sheet, err := tabular.NewXLSXWriter(&x, "企业", []tabular.Column{{Title: "企业名称"}, {Title: "统一社会信用代码"}, {Title: "行业代码"}, {Title: "所在乡镇/村"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := sheet.Write("石台县甲厂", code(1), "C3311", "仁里镇"); err != nil {
			t.Fatal(err)
		}
		if err := sheet.Close(); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"a.csv": table, "gbk.csv": gbk, "bom.csv": "\ufeff" + table, "a.xlsx": x.String()} {
			if v := w.imports("office", name, content); counts(v, "checked") != "1=1+0~0=0!" {
				t.Errorf("%s: %v", name, v)
			}
		}
		for name, content := range map[string]string{"无表头.csv": "甲,乙\n1,2\n", "空.csv": "企业名称\n"} {
			v := w.imports("office", name, content)
			if v["state"] == "checked" {
				w.must(409, "office", "POST", "/imports/enterprises/"+v["id"].(string)+"/confirm", obj{"version": v["version"], "onlyValid": true})
			} else if v["state"] != "refused" || !chinese(v["message"].(string)) {
				t.Errorf("%s: %v", name, v)
			}
		}
		w.must(200, "office", "GET", "/imports/enterprises/template.xlsx", nil)
		if l := w.must(200, "office", "GET", "/imports/enterprises?sort=-createdAt", nil); l["total"] != 6.0 {
			t.Errorf("imports %v", l["total"])
		}

		// From the command line: wrong rows stop it, a good file goes through.
		run := w.Module().Importers["enterprises"].Run
		ctx := actor.AsSystem(t.Context(), "operator")
		r, err := run(ctx, strings.NewReader(table+"乙厂,,C3311,仁里镇\n"), int64(len(table+"乙厂,,C3311,仁里镇\n")), "a.csv", true, nil)
		if err != nil || r.Rows != 2 || r.Created != 1 || len(r.Errors) != 1 || r.Errors[0].Row != 3 {
			t.Errorf("%+v %v", r, err)
		}
		if l := w.must(200, "office", "GET", "/enterprises", nil); l["total"] != 0.0 {
			t.Errorf("imported in spite of errors: %v", l)
		}
		r, err = run(ctx, strings.NewReader(table), int64(len(table)), "a.csv", true, nil)
		if err != nil || r.Created != 1 || len(r.Errors) != 0 {
			t.Errorf("%+v %v", r, err)
		}
		if l := w.must(200, "office", "GET", "/enterprises", nil); l["total"] != 1.0 {
			t.Errorf("not imported: %v", l)
		}
		if _, err := run(ctx, strings.NewReader("甲,乙\n"), 8, "a.csv", true, nil); err == nil {
			t.Error("a file without header was taken")
		}
	})
}

// Names of places, as people write them.
func TestPlaces(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r, err := w.rules(w.as("office"))
		if err != nil {
			t.Fatal(err)
		}
		p := newPlaces(w.as("office"), "341722", r)
		for name, want := range map[string]string{"仁里镇": town, "石台县仁里镇": town, "安徽省池州市石台县仁里镇": town, "安徽省/池州市/石台县/仁里镇": town, "马村居委会": village, "仁里镇马村": village,
			"仁里镇 马村": village, "石台县仁里镇马村居委会": village, "石台县": county} {
			if code, problem := p.find(name); code != want {
				t.Errorf("%s: %s %s, want %s", name, code, problem, want)
			}
		}
		for _, name := range []string{"东至县", "尧渡镇", "安徽省", "'", ""} {
			if code, problem := p.find(name); code != "" || problem == "" {
				t.Errorf("%s: %s", name, code)
			}
		}
	})
}
