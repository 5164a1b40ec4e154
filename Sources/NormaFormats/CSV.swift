/// A table of text with named columns.
public struct CSVTable: Sendable, Equatable {
  /// The file that it comes from.
  public let path: String
  /// The names in the first row.
  public let columns: [String]
  /// Where each row begins in the file, counted from 1.
  public let lines: [Int]
  /// The rows one after the other.
  let fields: [String]

  /// The number of rows below the names.
  public var rowCount: Int { lines.count }

  /// A field; both numbers must be in range.
  public subscript(row: Int, column: Int) -> String {
    precondition(lines.indices.contains(row) && columns.indices.contains(column), "no field [\(row), \(column)]")
    return fields[row * columns.count + column]
  }

  /// The column that has one of these names, whatever the case of its letters; nil for none.
  public func column(named names: String...) -> Int? {
    columns.firstIndex { name in names.contains { $0.lowercased() == name.lowercased() } }
  }

  /// The numbers of a column; throws `FormatError` naming line and column of a field that is not a finite decimal number.
  public func numbers(in column: Int) throws -> [Double] {
    try lines.indices.map { row in
      var text = self[row, column].utf8[...]
      while text.first == UInt8(ascii: " ") { text.removeFirst() }
      while text.last == UInt8(ascii: " ") { text.removeLast() }
      // Swift's own grammar has hexadecimal numbers and names too.
      let isPlain = text.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
      guard isPlain, let number = Double(String(Substring(text))), number.isFinite else {
        throw FormatError.reading(
          path,
          "line \(lines[row]), column \(column + 1) ('\(columns[column].prefix(40))'): a number was expected, found "
            + "'\(self[row, column].prefix(40))'")
      }
      return number
    }
  }
}

/// Reads comma-separated values (RFC 4180) with the columns' names in the first row.
public enum CSV {
  /// Reads a table.
  ///
  /// Fields in quotes may hold commas, line ends and doubled quotes. Lines end in LF or CR LF; empty ones are passed over.
  /// Throws `FormatError` naming the line of what is wrong.
  public static func read(_ path: String) throws -> CSVTable { try read(path, mostFields: 1 << 22) }

  static func read(_ path: String, mostFields: Int) throws -> CSVTable {
    var parser = Parser(path: path, mostFields: mostFields, bytes: Array(try TextFile.read(path).utf8))
    return try parser.table()
  }

  /// The fields of one line, without the limits and the columns of a table.
  /// - Parameter name: what the text is called in errors.
  public static func fields(of line: String, in name: String) throws -> [String] {
    var parser = Parser(path: name, mostFields: .max, bytes: Array(line.utf8))
    var fields: [String] = []
    try parser.row(into: &fields)
    return fields
  }

  /// A text as a field, in quotes where it needs them.
  public static func field(_ text: String) -> String {
    let needsQuotes = text.utf8.contains { ",\"\n\r".utf8.contains($0) }
    return needsQuotes ? "\"\(text.replacing("\"", with: "\"\""))\"" : text
  }

  private struct Parser {
    let path: String
    let mostFields: Int
    let bytes: [UInt8]
    var place = 0
    var line = 1

    private static let quote = UInt8(ascii: "\"")
    private static let comma = UInt8(ascii: ",")
    private static let newline = UInt8(ascii: "\n")

    init(path: String, mostFields: Int, bytes: [UInt8]) {
      self.path = path
      self.mostFields = mostFields
      self.bytes = bytes
      // The mark that some programs put before UTF-8.
      if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { place = 3 }
    }

    mutating func table() throws -> CSVTable {
      var columns: [String]?
      var fields: [String] = []
      var lines: [Int] = []
      while place < bytes.count {
        let start = line
        if lineEnd() { continue }
        let first = fields.count
        try row(into: &fields)
        guard let names = columns else {
          columns = fields
          fields = []
          continue
        }
        guard fields.count - first == names.count else {
          throw error(
            start, "\(names.count) fields were expected, as in the first row, found \(fields.count - first)")
        }
        lines.append(start)
      }
      guard let columns else {
        throw FormatError.reading(path, "it is empty; a first row with the names of the columns was expected")
      }
      var seen: Set<String> = []
      for name in columns where !seen.insert(name).inserted {
        throw FormatError.reading(path, "two columns have the name '\(name.prefix(40))'; give each its own")
      }
      return CSVTable(path: path, columns: columns, lines: lines, fields: fields)
    }

    mutating func row(into fields: inout [String]) throws {
      let first = fields.count
      repeat {
        fields.append(try field(number: fields.count - first + 1))
        guard fields.count <= mostFields else {
          throw FormatError.reading(path, "it has more than \(mostFields) fields; cut it into parts")
        }
      } while separator()
    }

    private func error(_ line: Int, _ reason: String) -> FormatError {
      .reading(path, "line \(line): \(reason)")
    }

    private mutating func separator() -> Bool {
      guard place < bytes.count, bytes[place] == Self.comma else { return lineEnd() && false }
      place += 1
      return true
    }

    /// Steps over the end of a line if one is here.
    private mutating func lineEnd() -> Bool {
      let rest = bytes[place...]
      let count = rest.starts(with: [0x0D, 0x0A]) ? 2 : rest.first == Self.newline ? 1 : 0
      if count == 0 { return false }
      place += count
      line += 1
      return true
    }

    private func isFieldEnd() -> Bool {
      let rest = bytes[place...]
      return rest.first.map { $0 == Self.comma || $0 == Self.newline } ?? true || rest.starts(with: [0x0D, 0x0A])
    }

    private mutating func field(number: Int) throws -> String {
      guard place < bytes.count, bytes[place] == Self.quote else {
        let start = place
        while !isFieldEnd() {
          if bytes[place] == Self.quote {
            throw error(line, "column \(number) has a quote inside; put the whole field in quotes and double this one")
          }
          place += 1
        }
        return String(decoding: bytes[start..<place], as: UTF8.self)
      }
      let opening = line
      var text: [UInt8] = []
      place += 1
      while place < bytes.count {
        let byte = bytes[place]
        place += 1
        if byte == Self.newline { line += 1 }
        guard byte == Self.quote else {
          text.append(byte)
          continue
        }
        if place < bytes.count, bytes[place] == Self.quote {
          text.append(byte)
          place += 1
          continue
        }
        guard isFieldEnd() else {
          throw error(line, "after the closing quote of column \(number) a comma or the end of the line was expected")
        }
        return String(decoding: text, as: UTF8.self)
      }
      throw error(opening, "the quote that opens column \(number) is never closed")
    }
  }
}
