import CTIFF
import Testing

@testable import NormaFormats

@Suite struct TIFFRoundTripTests {
  @Test(arguments: SampleFormat.allCases, TIFF.Compression.allCases)
  func everyFormatAndCompression(format: SampleFormat, compression: TIFF.Compression) throws {
    let folder = try Folder()
    for channels in 1...5 {
      let stack = try sample(pages: 2, channels: channels, height: 13, width: 17, format: format)
      try TIFF.write(stack, to: folder("a.tif"), compression: compression)
      #expect(try TIFF.read(folder("a.tif")) == stack)
    }
    #expect(folder.names == ["a.tif"])
  }

  @Test(arguments: TIFF.Compression.allCases)
  func severalStripsAndPlanes(compression: TIFF.Compression) throws {
    let folder = try Folder()
    for channels in [1, 2, 3] {
      let stack = try sample(pages: 2, channels: channels, height: 301, width: 500, format: .uint16)
      try TIFF.write(stack, to: folder("a.tif"), compression: compression)
      #expect(try TIFF.read(folder("a.tif")) == stack)
    }
  }

  @Test func bigTIFF() throws {
    let folder = try Folder()
    let stack = try sample(pages: 3, channels: 2, format: .float32)
    try TIFF.write(stack, to: folder("a.tif"), bigTIFF: true)
    #expect(try folder.bytes("a.tif")[2] == 43)
    #expect(try TIFF.read(folder("a.tif")) == stack)
    try TIFF.write(stack, to: folder("a.tif"))
    #expect(try folder.bytes("a.tif")[2] == 42)
  }

  @Test func extremesAndRounding() throws {
    let folder = try Folder()
    func stored(_ values: [Float], _ format: SampleFormat) throws -> [Float] {
      let stack = try ImageStack(
        pages: 1, channels: 1, height: 1, width: values.count, format: format, values: values)
      try TIFF.write(stack, to: folder("a.tif"))
      return try TIFF.read(folder("a.tif")).values
    }
    let values: [Float] = [-.infinity, -1e20, -1.6, 0.4, 1.5, 254.6, 1e20, .infinity]
    #expect(try stored(values, .uint8) == [0, 0, 0, 0, 2, 255, 255, 255])
    #expect(try stored(values, .int8) == [-128, -128, -2, 0, 2, 127, 127, 127])
    #expect(try stored(values, .uint16) == [0, 0, 0, 0, 2, 255, 65_535, 65_535])
    #expect(try stored(values, .int16) == [-32_768, -32_768, -2, 0, 2, 255, 32_767, 32_767])
    #expect(try stored(values, .uint32).last == 4_294_967_296)
    #expect(try stored(values, .int32).first == -2_147_483_648)
    #expect(try stored(values, .float32) == values)
    #expect(try stored(values, .float64) == values)
    #expect(try stored([.nan], .float64)[0].isNaN)
  }

  @Test func notANumberIsRefusedByIntegers() throws {
    let folder = try Folder()
    var values = [Float](repeating: 1, count: 12)
    values[7] = .nan
    let stack = try ImageStack(
      pages: 2, channels: 1, height: 2, width: 3, format: .uint16, values: values)
    let text = failure { try TIFF.write(stack, to: folder("a.tif")) }
    #expect(text.contains("a.tif") && text.contains("page 2") && text.contains("not a number"))
    #expect(folder.names.isEmpty)
  }

  @Test func imageJFindsTheStack() throws {
    let folder = try Folder()
    func description(_ name: String) throws -> String? {
      let file = try InputFile(folder(name))
      let handle = try TIFFHandle(
        descriptor: file.descriptor, path: file.path, mode: "rmch", largestAllocation: 0)
      try handle.select(directoryAt: try #require(try TIFFChain.offsets(of: file).first))
      return handle.string(TIFFTAG_IMAGEDESCRIPTION)
    }
    try TIFF.write(sample(pages: 12), to: folder("a.tif"))
    #expect(try description("a.tif") == "ImageJ=1.11a\nimages=12\nslices=12\nloop=false\n")
    try TIFF.write(sample(), to: folder("a.tif"))
    #expect(try description("a.tif") == "ImageJ=1.11a\n")

    // Pages whose number is not known before are counted in the end.
    for expected in [nil, 2, 7] {
      let writer = try TIFFWriter(folder("b.tif"), compression: .lzw, expectedPages: expected)
      let stack = try sample(pages: 4)
      for page in 0..<4 { try writer.append(stack.page(page)) }
      #expect(writer.pageCount == 4)
      try writer.finish()
      #expect(try description("b.tif") == "ImageJ=1.11a\nimages=4\nslices=4\nloop=false\n")
      #expect(try TIFF.read(folder("b.tif")) == stack)
    }
  }

  @Test func readerTakesPagesInAnyOrder() throws {
    let folder = try Folder()
    let stack = try sample(pages: 9, channels: 3, format: .int16)
    try TIFF.write(stack, to: folder("a.tif"), compression: .deflate)
    let reader = try TIFFReader(folder("a.tif"))
    #expect(reader.pageCount == 9)
    #expect(reader.channels == 3 && reader.height == 5 && reader.width == 7)
    #expect(reader.format == .int16)
    for index in [8, 0, 3, 3, 2, 7] {
      #expect(try reader.readPage(index) == stack.page(index))
    }
    #expect(try reader.readPages(2..<5) == stack.pages(2..<5))
    #expect(try TIFF.read(folder("a.tif"), pages: 1..<3) == stack.pages(1..<3))
    for index in [-1, 9, Int.max] {
      #expect(failure { try reader.readPage(index) }.contains("0..<9"))
    }
    for range in [-1..<2, 8..<10, 3..<3, 9..<10] {
      let text = failure { try reader.readPages(range) }
      #expect(text.contains("\(range)") && text.contains("0..<9"))
    }
  }

  @Test func manyPages() throws {
    let folder = try Folder()
    let stack = try sample(pages: 700, height: 2, width: 2)
    try TIFF.write(stack, to: folder("a.tif"))
    #expect(try TIFF.read(folder("a.tif")) == stack)
  }

  @Test func droppedWriterLeavesNothing() throws {
    let folder = try Folder()
    do {
      let writer = try TIFFWriter(folder("a.tif"))
      try writer.append(sample())
      #expect(folder.names.count == 1 && folder.names != ["a.tif"])
    }
    #expect(folder.names.isEmpty)
  }

  @Test func failedWriterLeavesTheOldFile() throws {
    let folder = try Folder()
    let old = try sample(pages: 2)
    try TIFF.write(old, to: folder("a.tif"))
    let others = [
      try sample(channels: 2), try sample(height: 6), try sample(width: 6), try sample(format: .uint16),
    ]
    for other in others {
      let writer = try TIFFWriter(folder("a.tif"))
      try writer.append(sample())
      let text = failure { try writer.append(other) }
      #expect(text.contains("page 2") && text.contains("page 1"))
      #expect(failure { try writer.append(sample()) }.contains("already finished or has failed"))
      #expect(failure { try writer.finish() }.contains("already finished or has failed"))
      #expect(folder.names == ["a.tif"])
    }
    let empty = try TIFFWriter(folder("a.tif"))
    #expect(failure { try empty.finish() }.contains("no page"))
    #expect(folder.names == ["a.tif"])
    #expect(try TIFF.read(folder("a.tif")) == old)

    let writer = try TIFFWriter(folder("a.tif"))
    try writer.append(sample(format: .float32))
    try writer.finish()
    #expect(failure { try writer.append(sample()) }.contains("already finished"))
    #expect(try TIFF.read(folder("a.tif")) == sample(format: .float32))
  }

  @Test func refusedPlaces() throws {
    let folder = try Folder()
    let stack = try sample()
    #expect(
      failure { try TIFF.write(stack, to: folder("none/a.tif")) }
        == "cannot write '\(folder("none/a.tif"))': No such file or directory")
    #expect(failure { try TIFF.write(stack, to: folder.path) }.contains("Is a directory"))
    #expect(failure { try TIFF.write(stack, to: "") }.contains("No such file or directory"))
    let file = try folder.write([1], "file")
    #expect(failure { try TIFF.write(stack, to: file + "/a.tif") }.contains("Not a directory"))
    #expect(folder.names == ["file"])
  }

  #if os(Linux)
    @Test(arguments: TIFF.Compression.allCases)
    func fullDisk(compression: TIFF.Compression) throws {
      let folder = try Folder()
      let text = failure {
        let output = try OutputFile(folder("a.tif"), device: "/dev/full")
        let writer = TIFFWriter(output, compression: compression, expectedPages: 1, bigTIFF: nil)
        try writer.append(sample(height: 300, width: 1000))
        try writer.finish()
      }
      #expect(text.contains("a.tif") && text.contains("No space left on device"))
      #expect(folder.names.isEmpty)
    }
  #endif
}
