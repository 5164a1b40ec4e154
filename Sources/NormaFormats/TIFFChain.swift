/// Walks the page directories of a TIFF file before libtiff sees them.
///
/// It finds loops, and it finds files cut within anything that a directory points to, which libtiff would pass
/// over with a warning. Classic files have 4-byte offsets, BigTIFF files have 8-byte offsets.
struct TIFFChain {
  private let file: InputFile
  private let isBigEndian: Bool
  private let isBig: Bool
  private var first = 0
  /// Bytes that the directories take and that they point to, other than image data.
  private var directoryBytes = 0
  private var pointedBytes = 0

  /// Whether the bytes begin a TIFF or BigTIFF file.
  static func isMagic(_ bytes: some Collection<UInt8>) -> Bool {
    switch Array(bytes.prefix(4)) {
    case [0x49, 0x49, 42, 0], [0x49, 0x49, 43, 0], [0x4D, 0x4D, 0, 42], [0x4D, 0x4D, 0, 43]: true
    default: false
    }
  }

  /// The offsets of all page directories in order.
  static func offsets(of file: InputFile) throws -> [UInt64] {
    var chain = try TIFFChain(file)
    return try chain.walk()
  }

  private init(_ file: InputFile) throws {
    self.file = file
    if file.length == 0 { throw FormatError.reading(file.path, "the file is empty") }
    let start = try file.bytes(at: 0, count: min(8, file.length))
    guard Self.isMagic(start) else {
      throw FormatError.reading(
        file.path,
        "it is not a TIFF file: it begins with the bytes \(hex(start.prefix(4))), expected "
          + "49 49 2A 00 or 4D 4D 00 2A (2B for BigTIFF)")
    }
    isBigEndian = start[0] == 0x4D
    isBig = start.contains(43)
    let header = try file.bytes(at: 0, count: isBig ? 16 : 8)
    if isBig, number(header, 4, 2) != 8 || number(header, 6, 2) != 0 {
      throw corrupt("the BigTIFF header is damaged")
    }
    first = isBig ? number(header, 8, 8) : number(header, 4, 4)
  }

  private mutating func walk() throws -> [UInt64] {
    var offsets: [UInt64] = []
    var seen: Set<Int> = []
    var next = first
    if next == 0 { throw corrupt("it has no pages") }
    while next != 0 {
      guard seen.insert(next).inserted else {
        throw corrupt("page \(offsets.count + 1) points back to an earlier page, so the pages never end")
      }
      offsets.append(UInt64(next))
      next = try directory(at: next, page: offsets.count)
    }
    return offsets
  }

  /// Checks one directory and returns the offset of the next, 0 after the last.
  private mutating func directory(at offset: Int, page: Int) throws -> Int {
    let countBytes = isBig ? 8 : 2
    let entryBytes = isBig ? 20 : 12
    let pointerBytes = isBig ? 8 : 4
    try require(offset, countBytes, "the directory", page)
    let count = number(try file.bytes(at: offset, count: countBytes), 0, countBytes)
    if count == 0 { throw corrupt("the directory of page \(page) is empty") }
    guard let tableBytes = product(count, entryBytes), tableBytes < Int.max - pointerBytes else {
      throw corrupt("the directory of page \(page) has \(count) entries")
    }
    try require(offset + countBytes, tableBytes + pointerBytes, "the directory", page)
    directoryBytes += countBytes + tableBytes + pointerBytes
    // Directories that overlap cost time without end; honest ones cannot exceed the file.
    if directoryBytes > file.length { throw corrupt("the page directories overlap") }
    let table = try file.bytes(at: offset + countBytes, count: tableBytes + pointerBytes)
    for entry in stride(from: 0, to: tableBytes, by: entryBytes) {
      try checkEntry(table, entry, page)
    }
    return number(table, tableBytes, pointerBytes)
  }

  private mutating func checkEntry(_ table: [UInt8], _ entry: Int, _ page: Int) throws {
    let sizes = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8]
    let tag = number(table, entry, 2)
    let type = number(table, entry + 2, 2)
    let count = number(table, entry + 4, isBig ? 8 : 4)
    guard type < sizes.count, sizes[type] > 0 else { return }
    let inline = isBig ? 8 : 4
    guard let bytes = product(count, sizes[type]) else {
      throw corrupt("tag \(tag) of page \(page) declares \(count) values")
    }
    if bytes <= inline { return }
    let offset = number(table, entry + 4 + inline, inline)
    try require(offset, bytes, "tag \(tag)", page)
    pointedBytes += bytes
    if pointedBytes / 100 > file.length { throw corrupt("the tags of its pages overlap") }
  }

  /// An unsigned number of 2, 4 or 8 bytes; offsets and counts beyond Int become Int.max.
  private func number(_ bytes: [UInt8], _ position: Int, _ size: Int) -> Int {
    var value: UInt64 = 0
    for index in 0..<size {
      let place = isBigEndian ? index : size - 1 - index
      value = value << 8 | UInt64(bytes[position + place])
    }
    return Int(clamping: value)
  }

  private func require(_ offset: Int, _ count: Int, _ what: String, _ page: Int) throws {
    if offset > file.length || count > file.length - offset {
      throw FormatError.reading(
        file.path,
        "the file is truncated or corrupt: \(what) of page \(page) is at bytes \(offset) + \(count), the "
          + "file has \(file.length) bytes; copy it again from its source")
    }
  }

  private func corrupt(_ what: String) -> FormatError {
    .reading(file.path, "the file is corrupt: \(what)")
  }
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { byte in
    let digits = String(byte, radix: 16, uppercase: true)
    return byte < 16 ? "0" + digits : digits
  }.joined(separator: " ")
}
