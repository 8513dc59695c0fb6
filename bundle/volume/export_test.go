package volume

// ParseTable is parseTable.
var ParseTable = parseTable
