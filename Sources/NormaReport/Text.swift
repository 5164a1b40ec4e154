/// A number with a fixed count of digits after the point; "–" for nothing and "nan" for not a number.
package func fixed(_ value: Double?, _ digits: Int) -> String {
  guard let value else { return "–" }
  guard value.isFinite else { return "\(value)" }
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  let magnitude = (value.magnitude * scale).rounded()
  guard magnitude < 9e15 else { return "\(value)" }
  let sign = value < 0 && magnitude > 0 ? "-" : ""
  let whole = Int(magnitude)
  if digits == 0 { return "\(sign)\(whole)" }
  let text = String(whole)
  let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
  return "\(sign)\(padded.dropLast(digits)).\(padded.suffix(digits))"
}

/// 31059077 → 31,059,077.
package func grouped(_ value: Int) -> String {
  var digits = String(value.magnitude)
  var groups: [Substring] = []
  while digits.count > 3 {
    groups.insert(digits.suffix(3)[...], at: 0)
    digits.removeLast(3)
  }
  groups.insert(digits[...], at: 0)
  return (value < 0 ? "-" : "") + groups.joined(separator: ",")
}

/// Minutes and seconds, with hours where there are any: 65 → "1:05".
package func clock(_ seconds: Double) -> String {
  guard seconds.isFinite, seconds < 1e9 else { return "–" }
  let total = Int(seconds.rounded())
  func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
  return total >= 3600
    ? "\(total / 3600):\(two(total / 60 % 60)):\(two(total % 60))" : "\(total / 60):\(two(total % 60))"
}

/// Bytes in the largest unit that gives at least 1: "412 MiB", "1.3 GiB".
package func bytes(_ count: Int?) -> String {
  guard let count else { return "–" }
  let mebibytes = Double(count) / 1_048_576
  return mebibytes.rounded() < 1024 ? "\(fixed(mebibytes, 0)) MiB" : "\(fixed(mebibytes / 1024, 1)) GiB"
}

/// Rows of text in columns: the first aligned left, the others right, a rule under the header.
package func textTable(header: [String], rows: [[String]]) -> String {
  let all = [header] + rows
  let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
  func line(_ row: [String]) -> String {
    row.indices.map { column in
      let space = String(repeating: " ", count: widths[column] - row[column].count)
      return column == 0 ? row[column] + space : space + row[column]
    }.joined(separator: "  ")
  }
  let rule = widths.map { String(repeating: "─", count: $0) }.joined(separator: "──")
  return ([line(header), rule] + rows.map(line)).joined(separator: "\n")
}

/// A name in which every character may stand in a file name.
package func fileName(_ name: String) -> String {
  String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "." || $0 == "=" || $0 == "+") ? $0 : "-" })
}

/// The text with control characters as escapes, for a terminal that would obey them.
public func printable(_ text: String) -> String {
  var result = ""
  for scalar in text.unicodeScalars {
    if scalar.properties.generalCategory == .control {
      result += "\\u{\(String(scalar.value, radix: 16))}"
    } else {
      result.unicodeScalars.append(scalar)
    }
  }
  return result
}
