import Foundation
import NormaConfiguration
import NormaFormats

/// A reader that is fed with broken files.
struct FuzzTarget: Sendable {
  /// Also the name of its folder of seeds in Tests/Corpus.
  let name: String
  /// Whether the files are text, or hold some: words and brackets are then changed as well as bits.
  var isText = false
  /// What the reader throws for a file that it refuses; anything else that it throws is a finding.
  var refuses: [any Error.Type] = [FormatError.self]
  /// Makes checksums and lengths agree with what was changed, so that the changes get past them.
  var repair: (@Sendable (inout [UInt8]) -> Void)?
  let read: @Sendable (_ path: String) throws -> Void
}

/// Every reader of files that come from elsewhere; a line here and a folder of seeds make another one.
let fuzzTargets = [
  FuzzTarget(name: "tiff", read: readTIFF),
  FuzzTarget(name: "png", repair: repairPNG) { check(try ImageFile.read($0)) },
  FuzzTarget(name: "safetensors", isText: true, repair: repairSafetensors, read: readSafetensors),
  FuzzTarget(name: "idx", read: readIDX),
  FuzzTarget(name: "cifar", read: readCIFAR),
  FuzzTarget(name: "csv", isText: true, read: readCSV),
  FuzzTarget(name: "yaml", isText: true, refuses: [FormatError.self, ConfigurationError.self], read: readYAML),
]

/// Ends the process, which makes the input a finding.
func insist(_ isTrue: Bool, _ what: @autoclosure () -> String) {
  if !isTrue { fatalError(what()) }
}

private func check(_ stack: ImageStack) {
  insist(
    stack.pages > 0 && stack.values.count == stack.pages * stack.valuesPerPage,
    "\(stack.values.count) values in \(stack.pages) pages of \(stack.layoutDescription)")
}

/// The whole stack, and the last page and a part of it by themselves, which must be the same bits.
private func readTIFF(_ path: String) throws {
  let stack = try ImageFile.read(path)
  check(stack)
  let reader = try TIFFReader(path)
  let last = try reader.readPage(reader.pageCount - 1)
  insist(
    last.values.elementsEqual(stack.values.suffix(stack.valuesPerPage)) { $0.bitPattern == $1.bitPattern },
    "a page differs when read by itself")
  let (rows, columns) = (stack.height / 3..<stack.height, 0..<(stack.width + 1) / 2)
  let region = try reader.readRegion(page: reader.pageCount - 1, rows: rows, columns: columns)
  for channel in 0..<stack.channels {
    for row in rows {
      let start = (channel * stack.height + row) * stack.width
      let part = (channel * rows.count + row - rows.lowerBound) * columns.count
      insist(
        region.values[part..<part + columns.count].elementsEqual(last.values[start..<start + columns.count]) {
          $0.bitPattern == $1.bitPattern
        }, "a region differs when read by itself")
    }
  }
}

private func readSafetensors(_ path: String) throws {
  let reader = try SafetensorsReader(path)
  for entry in reader.entries {
    let count = entry.shape.reduce(entry.type.size, *)
    insist(try reader.bytes(of: entry).count == count, "'\(entry.name)' has not the bytes of its shape")
    insist(reader.entry(entry.name) == entry, "'\(entry.name)' is not found by its name")
  }
}

private func readIDX(_ path: String) throws {
  let array = try IDX.read(path)
  insist(array.count == array.shape.reduce(1, *), "\(array.count) elements in the shape \(array.shape)")
  insist(array.values.count == array.count, "\(array.values.count) values of \(array.count) elements")
}

/// As either kind, of which a length fits one at most as a rule.
private func readCIFAR(_ path: String) throws {
  func check(_ kind: CIFAR.Kind) throws {
    let images = try CIFAR.read(path, kind)
    insist(
      images.classes.count * CIFAR.imageBytes == images.pixels.count
        && images.coarseClasses.map { $0.count == images.classes.count } ?? true,
      "\(images.pixels.count) bytes of \(images.classes.count) images")
  }
  do { try check(.cifar100) } catch { try check(.cifar10) }
}

/// All fields, and the numbers of columns that hold some.
private func readCSV(_ path: String) throws {
  let table = try CSV.read(path)
  insist(Set(table.columns).count == table.columns.count, "a column is there twice")
  insist(zip(table.lines, table.lines.dropFirst()).allSatisfy(<), "lines go back")
  let characters = (0..<table.rowCount).reduce(0) { $0 + table[$1, table.columns.count - 1].utf8.count }
  insist(characters <= (1 << 20), "more text than the file holds")
  for column in table.columns.indices.prefix(8) {
    if let numbers = try? table.numbers(in: column) {
      insist(numbers.count == table.rowCount && numbers.allSatisfy(\.isFinite), "numbers of '\(table.columns[column])'")
    }
  }
}

/// With options enough for most keys of the seeds.
private func readYAML(_ path: String) throws {
  let names = ["norms", "images", "labels", "epochs", "learning-rates", "batch-size", "class-weights", "schedule"]
  let known = names.map { ConfigurationFile.Option(name: $0) } + [.init(name: "diagnose", isFlag: true)]
  let options = try ConfigurationFile.read(path, known: known)
  insist(Set(options.map(\.name)).count == options.count, "a key is there twice")
  insist(options.allSatisfy { option in known.contains { $0.name == option.name } }, "a key that is not known")
}

/// Gives every chunk the CRC of what it holds now (PNG specification, annex D).
private func repairPNG(_ bytes: inout [UInt8]) {
  var start = 8
  while start + 12 <= bytes.count {
    let length = bytes[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
    guard length <= bytes.count - start - 12 else { return }
    let end = start + 8 + length
    var sum = ~UInt32(0)
    for byte in bytes[start + 4..<end] {
      sum ^= UInt32(byte)
      for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
    }
    for place in 0..<4 { bytes[end + place] = UInt8(truncatingIfNeeded: ~sum >> UInt32(24 - 8 * place)) }
    start = end + 4
  }
}

/// Has the length in front tell where the header seems to end.
private func repairSafetensors(_ bytes: inout [UInt8]) {
  guard let end = bytes.lastIndex(of: UInt8(ascii: "}")), end >= 8 else { return }
  for place in 0..<8 { bytes[place] = UInt8(truncatingIfNeeded: (end - 7) >> (8 * place)) }
}

/// Does what readers must not, by the first letter of the file, so that a test can see that each kind is found.
let plantedTarget = FuzzTarget(name: "planted", isText: true) { path in
  let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
  switch bytes.first.map({ Character(UnicodeScalar($0)) }) {
  case "c": fatalError("planted")
  case "h": while true {}
  case "m": insist(Data(repeating: 1, count: 1 << 27)[bytes.count] == 1, "memory that was lost")
  case "u": throw CancellationError()
  default: break
  }
}
