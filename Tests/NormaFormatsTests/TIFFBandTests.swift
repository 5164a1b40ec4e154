import NormaFormats
import Testing

/// Files that are read and written by parts of pages.
@Suite struct TIFFBandTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  /// Pages of several strips.
  private func stack(_ channels: Int, _ format: SampleFormat, pages: Int = 2) throws -> ImageStack {
    let (height, width) = (300, 700 / channels)
    return try ImageStack(
      pages: pages, channels: channels, height: height, width: width, format: format,
      values: (0..<pages * channels * height * width).map { Float(($0 * 7919) % 251) })
  }

  @Test(arguments: TIFF.Compression.allCases, [1, 2, 3])
  func regionsOfWrittenFiles(compression: TIFF.Compression, channels: Int) throws {
    for format in [SampleFormat.uint8, .uint16, .float32, .float64] {
      let stack = try stack(channels, format)
      try TIFF.write(stack, to: folder("a.tif"), compression: compression)
      let reader = try TIFFReader(folder("a.tif"))
      for (rows, columns) in [(0..<300, 3..<200), (91..<92, 0..<stack.width), (150..<299, 17..<18)] {
        for page in 0..<2 {
          #expect(
            try reader.readRegion(page: page, rows: rows, columns: columns)
              == stack.region(page: page, rows: rows, columns: columns))
        }
      }
    }
  }

  @Test func regionsThatAreNotThereSaySo() throws {
    try TIFF.write(stack(1, .uint8), to: folder("a.tif"))
    let reader = try TIFFReader(folder("a.tif"))
    for (page, rows, columns) in [
      (2, 0..<1, 0..<1), (0, 0..<301, 0..<1), (0, 5..<5, 0..<1), (0, 0..<1, 0..<701), (-1, 0..<1, 0..<1),
    ] {
      let text = failure { try reader.readRegion(page: page, rows: rows, columns: columns) }
      #expect(text.contains("0..<300") && text.contains("page \(page)"))
    }
  }

  @Test(arguments: TIFF.Compression.allCases, [1, 2, 3])
  func bandsMakeTheSameFile(compression: TIFF.Compression, channels: Int) throws {
    for (format, height) in [(SampleFormat.uint8, 7), (.uint16, 300), (.float32, 1), (.float32, 64)] {
      let stack = try stack(channels, format)
      try TIFF.write(stack, to: folder("whole.tif"), compression: compression)
      let writer = try TIFFWriter(folder("bands.tif"), compression: compression, expectedPages: 2)
      for page in 0..<2 {
        for row in stride(from: 0, to: 300, by: height) {
          let band = try stack.region(
            page: page, rows: row..<min(300, row + height), columns: 0..<stack.width)
          try writer.append(band: band, pageHeight: 300)
        }
      }
      try writer.finish()
      #expect(try folder.bytes("bands.tif") == folder.bytes("whole.tif"))
    }
  }

  @Test func bandsThatDoNotMakeAPageLeaveNothing() throws {
    let band = try stack(1, .uint8).region(page: 0, rows: 0..<200, columns: 0..<700)
    let short = try TIFFWriter(folder("a.tif"))
    try short.append(band: band, pageHeight: 300)
    #expect(failure { try short.finish() }.contains("200 of 300 rows"))
    let long = try TIFFWriter(folder("a.tif"))
    try long.append(band: band, pageHeight: 300)
    #expect(failure { try long.append(band: band, pageHeight: 300) }.contains("at most 100 rows"))
    let other = try TIFFWriter(folder("a.tif"))
    try other.append(band: band, pageHeight: 300)
    #expect(failure { try other.append(band: band, pageHeight: 400) }.contains("differs"))
    #expect(folder.names == [])
  }

  @Test func pixelSizesAndStacksAreKept() throws {
    let lines = [
      "ImageJ=1.53t", "images=6", "slices=3", "frames=2", "hyperstack=true", "mode=grayscale", "unit=micron",
      "spacing=0.5", "finterval=1.5", "loop=true", "min=3", "max=200", "cf=0", "vunit=HU",
    ]
    let tags = TIFFBuilder.tags(
      width: 2, height: 1, bits: 8,
      more: [TIFFBuilder.text(270, lines.joined(separator: "\n") + "\n"), .init(number: 296, size: 2, values: [3])])
    var builder = TIFFBuilder(pages: [.init(tags: tags, blocks: [[1, 2]])])
    builder.trailer = Array(3...12)
    let source = try TIFFReader(folder.write(builder.build(), "a.tif"))
    #expect(source.description.xResolution == nil && source.description.resolutionUnit == nil)
    var description = source.description
    (description.xResolution, description.yResolution, description.resolutionUnit) = (25.4, 12.5, 3)
    func write(pages: Int) throws -> TIFFReader {
      let writer = try TIFFWriter(folder("b.tif"), expectedPages: pages, description: description)
      for _ in 0..<pages { try writer.append(sample()) }
      try writer.finish()
      return try TIFFReader(folder("b.tif"))
    }
    let kept = try write(pages: 6).description
    #expect(kept == description)
    #expect(
      kept.imageJLines == [
        "slices=3", "frames=2", "hyperstack=true", "unit=micron", "spacing=0.5", "finterval=1.5", "loop=true",
      ])
    // Slices and frames that do not make up the pages are left out.
    let fewer = try write(pages: 4).description
    #expect(fewer.imageJLines == ["slices=4", "unit=micron", "spacing=0.5", "finterval=1.5", "loop=true"])
    #expect(fewer.xResolution == 25.4 && fewer.yResolution == 12.5)
  }
}
