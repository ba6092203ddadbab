package enterprise

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"anwang/internal/kernel/actor"
	"anwang/internal/kernel/org"
	"anwang/internal/lib/gbcode"
)

// places finds divisions by the names that people write into a table, within the actor's reach.
type places struct {
	rules *rules
	roots []string
	home  string            // where the actor's only division is a town or village: for rows that do not say
	names map[string]string // code by name, "" when several have it; made when first needed
}

func newPlaces(ctx context.Context, node string, r *rules) *places {
	p := &places{rules: r}
	who := actor.From(ctx)
	for _, g := range who.Grants {
		if g.Has(Import) {
			p.roots = append(p.roots, g.Divisions...)
		}
	}
	if who.Kind == actor.System {
		if d, err := gbcode.ParseDivision(node); err == nil {
			p.roots = []string{string(d)}
		}
	}
	if len(p.roots) == 1 && gbcode.Division(p.roots[0]).Level() >= gbcode.Town {
		p.home = p.roots[0]
	}
	return p
}

// find returns the code of the division that a cell names, or what is wrong.
func (p *places) find(cell string) (code, problem string) {
	if p.names == nil {
		p.names = map[string]string{}
		for _, root := range p.roots {
			if d := p.rules.divisions.Division(root); d != nil {
				p.add(d, nil)
			}
		}
	}
	name := placeNoise.Replace(cell)
	for _, root := range p.roots { // provinces and cities above are taken off, so that 安徽省池州市石台县仁里镇 is found as 石台县仁里镇
		for _, above := range p.rules.divisions.Path(root, p.rules.now) {
			if _, ok := p.names[name]; ok {
				break
			}
			name = strings.TrimPrefix(name, above)
		}
	}
	switch code, ok := p.names[name]; {
	case !ok:
		return "", fmt.Sprintf("在您的管辖范围内没有“%.40s”，请核对，或填写行政区划代码", cell)
	case code == "":
		return "", fmt.Sprintf("有几个“%.40s”，请写明所在乡镇，或填写行政区划代码", cell)
	default:
		return code, ""
	}
}

var placeNoise = strings.NewReplacer(" ", "", "/", "", "、", "", ",", "", "，", "", "-", "", "—", "", ">", "", "|", "", "·", "", "\\", "")

// villageEnds are the ends of villages' names, and what people write in their place.
var villageEnds = []struct{ long, short string }{{"村民委员会", "村"}, {"社区居民委员会", "社区"}, {"社区居委会", "社区"}, {"居民委员会", ""}, {"村委会", "村"}, {"居委会", ""}}

// add enters a division and what lies below it, by its own name and by that with those of the divisions above it, from the county down.
func (p *places) add(d *org.Division, above []string) {
	names := []string{d.Name}
	for _, end := range villageEnds {
		if rest, ok := strings.CutSuffix(d.Name, end.long); ok && rest+end.short != "" && d.Level == gbcode.Village {
			names = append(names, rest+end.short)
			break
		}
	}
	for _, name := range names {
		for i := range len(above) + 1 {
			full := strings.Join(above[i:], "") + name
			if code, taken := p.names[full]; taken && code != d.Code {
				p.names[full] = ""
			} else {
				p.names[full] = d.Code
			}
		}
	}
	if d.Level >= gbcode.County && d.Kind != org.KindGrouping {
		above = append(slices.Clip(above), d.Name)
	}
	for _, child := range p.rules.divisions.Children(d.Code, p.rules.now) {
		p.add(child, above)
	}
}
