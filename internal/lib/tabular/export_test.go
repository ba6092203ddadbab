package tabular

// SetSheetRows makes sheets small enough to overflow in a test.
func (x *XLSXWriter) SetSheetRows(n int) { x.sheetRows = n }
