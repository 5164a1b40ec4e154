import Testing

@testable import NormaFormats

@Suite struct PNGTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  /// A PNG file of the given rows, each with its filter byte, in stored deflate blocks.
  func file(
    width: Int, height: Int, depth: UInt8, color: UInt8, palette: [UInt8] = [], alpha: [UInt8] = [],
    gamma: Bool = false, rows: [UInt8]
  ) -> [UInt8] {
    func big(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
    func chunk(_ name: String, _ data: [UInt8]) -> [UInt8] {
      let body = Array(name.utf8) + data
      var sum: UInt32 = 0xFFFF_FFFF
      for byte in body {
        sum ^= UInt32(byte)
        for _ in 0..<8 { sum = sum & 1 == 1 ? sum >> 1 ^ 0xEDB8_8320 : sum >> 1 }
      }
      return big(UInt32(data.count)) + body + big(~sum)
    }
    var (a, b): (UInt32, UInt32) = (1, 0)
    for byte in rows {
      a = (a + UInt32(byte)) % 65_521
      b = (b + a) % 65_521
    }
    let length = [UInt8(rows.count & 255), UInt8(rows.count >> 8)]
    let deflated = [0x78, 0x01, 0x01] + length + length.map { ~$0 } + rows + big(b << 16 | a)
    var result: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    result += chunk("IHDR", big(UInt32(width)) + big(UInt32(height)) + [depth, color, 0, 0, 0])
    if gamma { result += chunk("gAMA", big(45_455)) }
    if !palette.isEmpty { result += chunk("PLTE", palette) }
    if !alpha.isEmpty { result += chunk("tRNS", alpha) }
    return result + chunk("IDAT", deflated) + chunk("IEND", [])
  }

  @Test(arguments: [SampleFormat.uint8, .uint16], 1...4)
  func roundTrip(format: SampleFormat, channels: Int) throws {
    let stack = try sample(channels: channels, height: 31, width: 45, format: format)
    try PNG.write(stack, to: folder("a.png"))
    #expect(try PNG.read(folder("a.png")) == stack)
    #expect(folder.names == ["a.png"])
  }

  @Test func samplesAreRaw() throws {
    // A gamma of 1/2.2 is declared, and must not touch the samples.
    let wide = file(
      width: 2, height: 1, depth: 16, color: 0, gamma: true, rows: [0, 0x12, 0x34, 0xFF, 0xFE])
    let stack = try PNG.read(folder.write(wide, "a.png"))
    #expect(stack.format == .uint16)
    #expect(stack.values == [0x1234, 0xFFFE])
    let color = file(width: 1, height: 2, depth: 8, color: 2, gamma: true, rows: [0, 1, 2, 3, 0, 4, 5, 6])
    #expect(try PNG.read(folder.write(color, "a.png")).values == [1, 4, 2, 5, 3, 6])
  }

  @Test func smallDepthsAndPalettes() throws {
    let bits = file(width: 5, height: 1, depth: 1, color: 0, rows: [0, 0b1011_0000])
    #expect(try PNG.read(folder.write(bits, "a.png")).values == [255, 0, 255, 255, 0])
    let nibbles = file(width: 2, height: 1, depth: 4, color: 0, rows: [0, 0x2F])
    #expect(try PNG.read(folder.write(nibbles, "a.png")).values == [34, 255])
    let colors: [UInt8] = [10, 20, 30, 40, 50, 60]
    let palette = file(width: 2, height: 1, depth: 8, color: 3, palette: colors, rows: [0, 1, 0])
    let stack = try PNG.read(folder.write(palette, "a.png"))
    #expect(stack.channels == 3)
    #expect(stack.values == [40, 10, 50, 20, 60, 30])
    let clear = file(
      width: 2, height: 1, depth: 8, color: 3, palette: colors, alpha: [7], rows: [0, 1, 0])
    #expect(try PNG.read(folder.write(clear, "a.png")).values == [40, 10, 50, 20, 60, 30, 255, 7])
  }

  @Test func everyCutThrows() throws {
    try PNG.write(sample(format: .uint16), to: folder("v.png"))
    let bytes = try folder.bytes("v.png")
    for length in 0..<bytes.count {
      let path = try folder.write(Array(bytes[..<length]), "a.png")
      #expect(failure { try PNG.read(path) }.hasPrefix("cannot read '\(path)': "))
    }
    let path = try folder.write(Array(bytes[..<60]), "a.png")
    #expect(failure { try PNG.read(path) }.contains("libpng: "))
  }

  @Test func everyByteReplaced() throws {
    let bytes = file(
      width: 3, height: 2, depth: 8, color: 3, palette: [1, 2, 3, 4, 5, 6], gamma: true,
      rows: [0, 1, 0, 1, 0, 0, 1, 0])
    #expect(try PNG.read(folder.write(bytes, "a.png")).values.count == 18)
    var refused = 0
    for position in bytes.indices {
      for value: UInt8 in [0, 1, 0x7F, 0xFF, bytes[position] ^ 0x10] where value != bytes[position] {
        var changed = bytes
        changed[position] = value
        do {
          let stack = try PNG.read(folder.write(changed, "a.png"))
          #expect(stack.values.count == stack.channels * 6)
        } catch is FormatError {
          refused += 1
        }
      }
    }
    #expect(refused > bytes.count)
  }

  @Test func absurdSize() throws {
    let bomb = file(width: 900_000, height: 900_000, depth: 16, color: 6, rows: [0, 1, 2, 3])
    let text = failure { try PNG.read(folder.write(bomb, "a.png")) }
    #expect(text.contains("larger than a file of this length can hold"))
  }

  @Test func otherFiles() throws {
    #expect(
      failure { try PNG.read(folder("x.png")) }
        == "cannot read '\(folder("x.png"))': No such file or directory")
    #expect(failure { try PNG.read(folder.write([], "a.png")) }.contains("empty"))
    #expect(failure { try PNG.read(folder.write([1, 2], "a.png")) }.contains("01 02"))
    #expect(failure { try PNG.read(folder.path) }.contains("Is a directory"))
  }

  @Test func whatCannotBeWritten() throws {
    #expect(failure { try PNG.write(sample(pages: 2), to: folder("a.png")) }.contains("one page"))
    #expect(failure { try PNG.write(sample(channels: 5), to: folder("a.png")) }.contains("5 channels"))
    #expect(failure { try PNG.write(sample(format: .float32), to: folder("a.png")) }.contains("float32"))
    let hole = try ImageStack(pages: 1, channels: 1, height: 1, width: 1, format: .uint8, values: [.nan])
    #expect(failure { try PNG.write(hole, to: folder("a.png")) }.contains("not a number"))
    // libpng takes sides up to a million.
    let wide = try ImageStack(
      pages: 1, channels: 1, height: 1, width: 1_000_001, format: .uint8,
      values: Array(repeating: 0, count: 1_000_001))
    #expect(failure { try PNG.write(wide, to: folder("a.png")) }.contains("libpng: "))
    #expect(failure { try PNG.write(sample(), to: folder("no/a.png")) }.contains("No such file"))
    #expect(folder.names.isEmpty)
  }

  #if os(Linux)
    @Test func fullDisk() throws {
      let text = failure {
        try PNG.write(sample(), to: OutputFile(folder("a.png"), device: "/dev/full"))
      }
      #expect(text.contains("No space left on device"))
      #expect(folder.names.isEmpty)
    }
  #endif

  @Test func folderInNaturalOrder() throws {
    let names = ["slice10.png", "slice2.PNG", "slice1.png", "slice02b.png"]
    for (value, name) in names.enumerated() {
      let values = [Float](repeating: Float(value), count: 4)
      try PNG.write(
        ImageStack(pages: 1, channels: 1, height: 2, width: 2, format: .uint8, values: values),
        to: folder(name))
    }
    _ = try folder.write([1, 2, 3], "notes.txt")
    _ = try folder.write([1, 2, 3], "._slice1.png")
    for path in [folder.path, folder.path + "/"] {
      let stack = try PNG.readFolder(path)
      #expect(stack.pages == 4)
      #expect((0..<4).map { stack[$0, 0, 1, 1] } == [2, 1, 3, 0])
    }
  }

  @Test func folderOfUnlikeImages() throws {
    try PNG.write(sample(), to: folder("a1.png"))
    try PNG.write(sample(), to: folder("a2.png"))
    for other in [try sample(height: 6), try sample(channels: 3), try sample(format: .uint16)] {
      try PNG.write(other, to: folder("a10.png"))
      let text = failure { try PNG.readFolder(folder.path) }
      #expect(
        text.contains("'a1.png'") && text.contains("'a10.png'") && text.contains(other.layoutDescription))
    }
    let empty = try folder.makeFolder("empty")
    #expect(failure { try PNG.readFolder(empty) }.contains("no files that end in .png"))
    #expect(failure { try PNG.readFolder(folder("none")) }.contains("No such file or directory"))
    _ = try folder.write([1, 2, 3], "a3.png")
    #expect(failure { try PNG.readFolder(folder.path) }.contains("a3.png': it is not a PNG file"))
  }

  @Test func naturalOrder() {
    let names = [
      "", "1.png", "01.png", "2.png", "10.png", "a", "a1", "a1b2", "a1b10", "a2", "a99999999999999999999999",
      "a100000000000000000000000", "b",
    ]
    // Of two equal numbers the longer spelling comes first, as its zero precedes.
    let expected = names.map { $0 == "1.png" ? "01.png" : $0 == "01.png" ? "1.png" : $0 }
    #expect(names.reversed().sorted(by: precedesNaturally) == expected)
    for name in names { #expect(!precedesNaturally(name, name)) }
  }
}
