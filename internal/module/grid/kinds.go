package grid

import "anwang/internal/kernel/dict"

// placeKinds are the kinds of places other than enterprises that the program ships [P]; an administrator adds what a county has beside them.
func placeKinds() ([]dict.Item, error) {
	var items []dict.Item
	for _, k := range [][2]string{
		{"school", "学校、幼儿园、校外培训机构"}, {"careHome", "养老院、福利院"}, {"hospital", "医院、卫生院"}, {"gasStation", "加油（气）站"}, {"lpgSite", "液化气站、瓶装气点"},
		{"rental", "出租屋、自建房"}, {"construction", "在建工地"}, {"reservoir", "水库、山塘"}, {"scenicSpot", "景点、民宿、农家乐"}, {"market", "集贸市场、商场"}, {"smallPlace", "“九小”场所"},
		{"highRise", "高层建筑"}, {"religious", "宗教活动场所"}, {"ferry", "渡口、码头"}, {"road", "危险路段、桥梁"}, {"geohazard", "地质灾害点"}, {"mine", "废弃矿井、采空区"},
		{"tailings", "尾矿库"}, {"firework", "烟花爆竹零售点"}, {"farmMachine", "农机集中停放点"}, {"warehouse", "仓库、物流点"}, {"other", "其他"},
	} {
		items = append(items, dict.Item{Code: k[0], Label: k[1], Sort: len(items) + 1, Mark: "P"})
	}
	return items, nil
}
