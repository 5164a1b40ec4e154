import Foundation

func row(_ cells: String...) -> String {
  cells.enumerated().map { index, cell in
    let padding = String(repeating: " ", count: max(0, (index == 0 ? 24 : 10) - cell.count))
    return index == 0 ? cell + padding : padding + cell
  }.joined(separator: " ")
}

func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

/// Mean and sample standard deviation.
func spread(_ values: [Double]) -> (mean: Double, deviation: Double) {
  let mean = values.reduce(0, +) / Double(values.count)
  let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
  return (mean, (squares / Double(max(1, values.count - 1))).squareRoot())
}
