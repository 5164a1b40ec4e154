import Testing

@testable import NormaFormats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct TensorBoardTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  /// The examples of RFC 3720, appendix B.4, and the usual check value.
  @Test func checksPublished() {
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum(Array(0...31)) == 0x46DD_794E)
    #expect(CRC32C.checksum((0...31).reversed()) == 0x113F_DB5C)
    let command: [UInt8] = [
      0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
      0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
    ]
    #expect(CRC32C.checksum(command) == 0xD996_3A56)
    #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    #expect(CRC32C.checksum([]) == 0)
  }

  /// event.proto at second 1.5: wall_time = 1, file_version = 3; its checks were computed bit by bit.
  private let versionRecord: [UInt8] =
    [24, 0, 0, 0, 0, 0, 0, 0, 0xA3, 0x7F, 0x4B, 0x22] + [0x09, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F]
    + [0x1A, 13] + Array("brain.Event:2".utf8) + [0x2A, 0x28, 0x64, 0x6C]

  private func writer(_ name: String = "run") throws -> TensorBoardWriter {
    try TensorBoardWriter(folder: folder(name), clock: { 1.5 })
  }

  private func contents(_ writer: TensorBoardWriter) throws -> [UInt8] {
    try folder.bytes(String(writer.path.dropFirst(folder.path.count + 1)))
  }

  @Test func bytesOfAScalar() throws {
    let writer = try writer()
    // Without waiting for close: a running training is to be seen.
    #expect(try contents(writer) == versionRecord)
    try writer.scalar("loss", -0.5, step: 300, wallTime: 2)
    // wall_time, step = 2, summary = 5 of one value = 1 with tag = 1 and simple_value = 2.
    let record: [UInt8] =
      [27, 0, 0, 0, 0, 0, 0, 0, 0x1A, 0x0D, 0x9E, 0x13] + [0x09, 0, 0, 0, 0, 0, 0, 0, 0x40]
      + [0x10, 0xAC, 0x02] + [0x2A, 13, 0x0A, 11] + [0x0A, 4] + Array("loss".utf8)
      + [0x15, 0, 0, 0, 0xBF] + [0xC3, 0xC9, 0xDC, 0x6D]
    #expect(try contents(writer) == versionRecord + record)
    try writer.scalars([], step: 1)
    try writer.close()
    try writer.close()
    #expect(try contents(writer) == versionRecord + record)
  }

  @Test func bytesOfAnImage() throws {
    let writer = try writer()
    let stack = try sample(channels: 3, height: 2, width: 300)
    try writer.image("é", stack, step: -1)
    try PNG.write(stack, to: folder("a.png"))
    let png = try folder.bytes("a.png")
    // height = 1, width = 2, colorspace = 3, the bytes = 4; all lengths take two bytes.
    func length(_ count: Int) -> [UInt8] { [UInt8(count & 0x7F | 0x80), UInt8(count >> 7)] }
    let image = [0x08, 2, 0x10, 0xAC, 0x02, 0x18, 3, 0x22] + length(png.count) + png
    let value = [0x0A, 2, 0xC3, 0xA9, 0x22] + length(image.count) + image
    let summary = [0x0A] + length(value.count) + value
    let negativeStep = [0x10] + [UInt8](repeating: 0xFF, count: 9) + [1]
    let event = [0x09, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F] + negativeStep + [0x2A] + length(summary.count) + summary
    let record = try contents(writer)[versionRecord.count...]
    #expect(record.dropFirst(12).dropLast(4).elementsEqual(event))
    #expect(record.prefix(8).elementsEqual(length8(event.count)))
  }

  private func length8(_ count: Int) -> [UInt8] {
    [UInt8(count & 255), UInt8(count >> 8)] + [UInt8](repeating: 0, count: 6)
  }

  @Test(arguments: zip(1...4, [SampleFormat.uint8, .uint16, .uint8, .uint16]))
  func extentOfImages(channels: Int, format: SampleFormat) throws {
    let bytes = try PNG.encode(sample(channels: channels, height: 3, width: 258, format: format), for: "")
    let extent = try #require(PNG.extent(of: bytes))
    #expect(extent == (3, 258, channels))
    for length in 0...25 { #expect(PNG.extent(of: Array(bytes[..<length])) == nil) }
    // Another chunk in front, no width, a colour type that there is not.
    for (place, value) in [(12, UInt8(0)), (18, 0), (25, 1)] {
      var changed = bytes
      changed[place] = value
      if place == 18 { changed[19] = 0 }
      #expect(PNG.extent(of: changed) == nil)
    }
  }

  @Test func everyWriterHasAFileOfItsOwn() throws {
    let writers = [try writer(), try writer(), try writer("other/deep")]
    let names = writers.map { $0.path.split(separator: "/").last! }
    #expect(folder.names == ["other", "run"])
    #expect(Set(writers.map(\.path)).count == 3)
    for name in names { #expect(name.hasPrefix("events.out.tfevents.1.")) }
    #expect(names[0].dropLast() == names[1].dropLast() && names[0].hasSuffix(".0") && names[1].hasSuffix(".1"))
    let now = try TensorBoardWriter(folder: folder("now"))
    let started = try #require(Int(now.path.split(separator: "tfevents.")[1].prefix { $0 != "." }))
    #expect(abs(started - time(nil)) < 60)
  }

  @Test func whatCannotBeWritten() throws {
    let writer = try writer()
    try writer.scalar("a", 1, step: 1)
    let before = try contents(writer)
    #expect(
      failure { try writer.scalar("", 1, step: 1) }
        == "cannot write '\(writer.path)': a tag is empty; name what the value is, such as train/loss")
    #expect(failure { try writer.image("a", png: [1, 2], step: 1) }.contains("'a' must be the bytes of a PNG file"))
    #expect(failure { try writer.image("a", png: [1, 2], step: 1) }.contains("01 02; encode it"))
    #expect(failure { try writer.image("a", png: [], step: 1) }.contains("is empty; encode it"))
    #expect(failure { try writer.image("a", sample(pages: 2), step: 1) }.contains(writer.path))
    try writer.close()
    #expect(failure { try writer.scalar("a", 1, step: 2) }.contains("it has been closed"))
    #expect(try contents(writer) == before)

    _ = try folder.write([1], "file")
    #expect(failure { try TensorBoardWriter(folder: folder("file")) }.contains("Not a directory"))
    let long = folder.path + String(repeating: "/..", count: 2000)
    #expect(failure { try GrowingFile(long) }.hasPrefix("cannot write '"))
  }

  #if os(Linux)
    @Test func aFailedRecordLeavesNoPart() throws {
      let file = try #require(try GrowingFile(folder("a")))
      try [UInt8(7)].withUnsafeBytes { try file.append($0) }
      // The second page cannot be read: the system writes the first one, and then fails.
      let page = Int(getpagesize())
      let pages = try #require(mmap(nil, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
      defer { munmap(pages, 2 * page) }
      #expect(mprotect(pages + page, page, PROT_NONE) == 0)
      #expect(
        failure { try file.append(UnsafeRawBufferPointer(start: pages, count: 2 * page)) }.contains("Bad address"))
      #expect(try folder.bytes("a") == [7])
      try [UInt8(8)].withUnsafeBytes { try file.append($0) }
      #expect(try folder.bytes("a") == [7, 8])
    }
  #endif
}
