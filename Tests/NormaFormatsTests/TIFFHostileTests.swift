import Testing

@testable import NormaFormats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Files that are cut, corrupt or no TIFF files at all.
@Suite struct TIFFHostileTests {
  typealias Tag = TIFFBuilder.Tag
  let folder: Folder

  init() throws { folder = try Folder() }

  func failureOfReading(_ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
    let path = try folder.write(bytes, "a.tif")
    let text = failure({ try TIFF.read(path) }, sourceLocation: sourceLocation)
    #expect(text.hasPrefix("cannot read '\(path)': "), sourceLocation: sourceLocation)
    return text
  }

  /// Small valid files: directories before and behind the data, both byte orders, tiles, every compression.
  func validFiles() throws -> [[UInt8]] {
    var files: [[UInt8]] = []
    for compression in TIFF.Compression.allCases {
      try TIFF.write(sample(pages: 2, format: .uint16), to: folder("v.tif"), compression: compression)
      files.append(try folder.bytes("v.tif"))
    }
    try TIFF.write(sample(channels: 2, format: .float32), to: folder("v.tif"), bigTIFF: true)
    files.append(try folder.bytes("v.tif"))
    let strips = TIFFBuilder.tags(
      width: 3, height: 3, bits: 8, rowsPerStrip: 1,
      more: [TIFFBuilder.text(270, "some words about this image")])
    let page = TIFFBuilder.Page(tags: strips, blocks: [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    files.append(TIFFBuilder(isBigEndian: true, pages: [page, page]).build())
    files.append(TIFFBuilder(isBig: true, pages: [page]).build())
    let tiled = TIFFBuilder.tags(
      width: 20, height: 3, bits: 8,
      more: [Tag(number: 322, size: 2, values: [16]), Tag(number: 323, size: 2, values: [16])])
    let tile = [UInt8](repeating: 5, count: 256)
    files.append(TIFFBuilder.file(tiled, [tile, tile], isTiled: true))
    let palette = TIFFBuilder.tags(
      width: 2, height: 1, bits: 8, photometric: 3,
      more: [Tag(number: 320, size: 2, values: Array(0..<768))])
    files.append(TIFFBuilder.file(palette, [[5, 0]]))
    let stack = TIFFBuilder.tags(
      width: 2, height: 1, bits: 8, more: [TIFFBuilder.text(270, "ImageJ=1.53t\nimages=2\n")])
    var contiguous = TIFFBuilder(pages: [.init(tags: stack, blocks: [[1, 2]])])
    contiguous.trailer = [3, 4]
    files.append(contiguous.build())
    return files
  }

  @Test func everyCutThrows() throws {
    for file in try validFiles() {
      _ = try TIFF.read(folder.write(file, "a.tif"))
      for length in 0..<file.count {
        let text = try failureOfReading(Array(file[..<length]))
        if text.isEmpty { Issue.record("cut at \(length) of \(file.count) was read") }
      }
    }
  }

  /// Every byte replaced: the outcome is a stack of plausible size or one error, and never a crash.
  @Test func everyByteReplaced() throws {
    for file in try validFiles() {
      var (read, refused) = (0, 0)
      for position in file.indices {
        for value: UInt8 in [0, 1, 0x7F, 0x80, 0xFF, file[position] ^ 0x10] where value != file[position] {
          var changed = file
          changed[position] = value
          let path = try folder.write(changed, "a.tif")
          do {
            let stack = try TIFF.read(path)
            read += 1
            #expect(stack.values.count == stack.pages * stack.channels * stack.height * stack.width)
          } catch let error as FormatError {
            refused += 1
            #expect(error.path == path && !error.reason.isEmpty)
          }
        }
      }
      #expect(read > 0 && refused > 0)
    }
  }

  @Test func otherFiles() throws {
    #expect(try failureOfReading([]).contains("empty"))
    #expect(try failureOfReading([0x49, 0x49, 41, 0, 8, 0, 0, 0]).contains("49 49 29 00"))
    #expect(try failureOfReading(Array("hello, world".utf8)).contains("not a TIFF file"))
    #expect(try failureOfReading([0x49]).contains("not a TIFF file"))
    #expect(try failureOfReading([0x49, 0x49, 42, 0, 0, 0, 0, 0]).contains("no pages"))
    #expect(try failureOfReading([0x49, 0x49, 42, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]).contains("empty"))
    #expect(
      try failureOfReading([0x4D, 0x4D, 0, 43, 0, 4, 0, 0] + Array(repeating: 0, count: 8))
        .contains("BigTIFF header"))
    #expect(
      failure { try TIFF.read(folder("x.tif")) }
        == "cannot read '\(folder("x.tif"))': No such file or directory")
    #expect(failure { try TIFF.read(folder.path) }.contains("Is a directory"))
    // Opening a pipe for reading must not wait for a writer.
    #expect(mkfifo(folder("pipe"), 0o600) == 0)
    #expect(failure { try TIFF.read(folder("pipe")) }.contains("not a regular file"))
  }

  @Test(arguments: [false, true])
  func pagesWithoutEnd(big: Bool) throws {
    let tags = TIFFBuilder.tags(width: 2, height: 1, bits: 8)
    let page = TIFFBuilder.Page(tags: tags, blocks: [[1, 2]])
    let first: UInt64 = big ? 16 : 8
    for count in [1, 3] {
      let builder = TIFFBuilder(isBig: big, pages: Array(repeating: page, count: count))
      #expect(try failureOfReading(builder.build(next: first)).contains("never end"))
    }
    let beyond = TIFFBuilder(isBig: big, pages: [page]).build(next: 100_000)
    #expect(try failureOfReading(beyond).contains("truncated or corrupt: the directory of page 2"))
  }

  @Test func overlappingDirectories() throws {
    // Each of these directories lies two bytes behind the one before and spans most of the file.
    var file: [UInt8] = [0x49, 0x49, 42, 0, 8, 0, 0, 0]
    let entries = 300
    file += [UInt8(entries & 255), UInt8(entries >> 8)]
    file += Array(repeating: 0, count: entries * 12)
    file += [10, 0, 0, 0]
    file[10] = UInt8(entries & 255)
    file[11] = UInt8(entries >> 8)
    file += Array(repeating: 0, count: 100)
    #expect(try failureOfReading(file).contains("overlap"))
  }

  @Test(arguments: [1, 5, 8, 32_773])
  func absurdSizes(compression: Int) throws {
    let sizes = [
      (1_000_000, 1_000_000), (0xFFFF_FFFF, 0xFFFF_FFFF), (0xFFFF_FFFF, 1), (1, 0xFFFF_FFFF), (0, 5), (5, 0),
      (300_000, 300_000),
    ]
    for (width, height) in sizes {
      let tags = TIFFBuilder.tags(
        width: width, height: height, bits: 8,
        more: [Tag(number: 259, size: 2, values: [UInt64(compression)])])
      let data = [UInt8](repeating: 1, count: 1000)
      let text = try failureOfReading(TIFFBuilder.file(tags, [data]))
      #expect(text.contains("page 1"))
    }
    let many = TIFFBuilder.tags(
      width: 60_000, height: 60_000, bits: 16,
      more: [Tag(number: 277, size: 2, values: [65_535]), Tag(number: 258, size: 2, values: [16])])
    #expect(try failureOfReading(TIFFBuilder.file(many, [[1, 2, 3]])).contains("page 1"))
  }

  @Test func absurdTiles() throws {
    let tags = TIFFBuilder.tags(
      width: 20, height: 3, bits: 8,
      more: [
        Tag(number: 322, size: 4, values: [0xFFFF_FFF0]), Tag(number: 323, size: 4, values: [0xFFFF_FFF0]),
      ])
    let file = TIFFBuilder.file(tags, [[UInt8](repeating: 5, count: 256)], isTiled: true)
    #expect(try failureOfReading(file).contains("page 1"))
  }

  @Test func stripsThatAreNotThere() throws {
    // The offset lies outside of the file, then the count does, then there are too few bytes, then none.
    let tags = TIFFBuilder.tags(width: 4, height: 4, bits: 8, rowsPerStrip: 2)
    let valid = TIFFBuilder.file(tags, [Array(1...8), Array(9...16)])
    #expect(try TIFF.read(folder.write(valid, "a.tif")).values == (1...16).map { Float($0) })
    let missing = TIFFBuilder.file(tags, [Array(1...8)])
    #expect(try failureOfReading(missing).contains("strip"))
    let short = TIFFBuilder.file(tags, [Array(1...8), Array(9...12)])
    #expect(try failureOfReading(short).contains("strip 1 has 4 bytes"))
    let none = TIFFBuilder.file(tags, [Array(1...8), []])
    #expect(try failureOfReading(none).contains("strip 1"))
  }

  @Test func corruptCompressedDataCarriesTheReasonOfLibtiff() throws {
    let values = (0..<40_000).map { Float(($0 * $0) % 251) }
    let stack = try ImageStack(
      pages: 2, channels: 1, height: 200, width: 200, format: .uint8, values: values + values)
    try TIFF.write(stack, to: folder("v.tif"), compression: .deflate)
    var file = try folder.bytes("v.tif")
    for position in 40..<200 { file[position] = 0xA5 }
    let text = try failureOfReading(file)
    #expect(text.contains("page 1") && text.contains("libtiff: "))
    #expect(!text.contains("no reason given"))
  }

  /// Found by norma-fuzz: libtiff with libdeflate left the end of such a strip unwritten and said nothing.
  @Test func deflateDataLongerThanTheStripFillIt() throws {
    // Runs of equal values, so that the end of the strip lies within one.
    let values = (0..<1200).map { Float($0 / 170) }
    let stack = try ImageStack(pages: 1, channels: 1, height: 20, width: 60, format: .float32, values: values)
    try TIFF.write(stack, to: folder("v.tif"), compression: .deflate)
    var file = try folder.bytes("v.tif")
    // The entry of tag 256, a width of 60 as a number of two bytes.
    let width = try #require(
      (0..<file.count - 12).last { file[$0..<$0 + 9].elementsEqual([0, 1, 3, 0, 1, 0, 0, 0, 60]) })
    file[width + 8] = 40
    #expect(try TIFF.read(folder.write(file, "a.tif")).values == Array(values[..<800]))
  }

  #if os(Linux)
    /// What the process may not have is an error, where a failed allocation would end it.
    @Test func memoryThatIsNotGiven() throws {
      #expect(isThereMemory(bytes: 64 << 20))
      #expect(!isThereMemory(bytes: 1 << 60))
    }
  #endif

  @Test func handlesDoNotMixTheirMessages() async throws {
    let good = try sample(pages: 3)
    try TIFF.write(good, to: folder("good.tif"), compression: .lzw)
    let tags = TIFFBuilder.tags(
      width: 6, height: 1, bits: 8, more: [Tag(number: 259, size: 2, values: [32_773])])
    let bad = try folder.write(TIFFBuilder.file(tags, [[0xFC, 7, 0]]), "bad.tif")
    let goodPath = folder("good.tif")
    await withTaskGroup { group in
      for index in 0..<16 {
        group.addTask {
          for _ in 0..<20 {
            if index % 2 == 0 {
              #expect((try? TIFF.read(goodPath)) == good)
            } else {
              #expect(failure { try TIFF.read(bad) }.contains("bad.tif': page 1: libtiff: "))
            }
          }
        }
      }
    }
  }
}
