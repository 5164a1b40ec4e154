import NormaFormats
import Testing

/// Files of kinds that the writer does not make.
@Suite struct TIFFKindTests {
  typealias Tag = TIFFBuilder.Tag
  let folder: Folder

  init() throws { folder = try Folder() }

  /// The whole file, of which every kind of region has to be a part.
  func read(_ bytes: [UInt8]) throws -> ImageStack {
    let path = try folder.write(bytes, "a.tif")
    let stack = try TIFF.read(path)
    try expectRegions(of: path, in: stack)
    return stack
  }

  @Test(arguments: [false, true], [false, true])
  func byteOrders(bigEndian: Bool, big: Bool) throws {
    let order = TIFFBuilder(isBigEndian: bigEndian)
    func check(_ bits: Int, _ kind: UInt64, _ data: [UInt8], _ format: SampleFormat, _ values: [Float]) throws {
      let tags = TIFFBuilder.tags(
        width: 3, height: 1, bits: bits, more: [Tag(number: 339, size: 2, values: [kind])])
      let stack = try read(TIFFBuilder.file(tags, [data], bigEndian: bigEndian, big: big))
      #expect(stack.format == format)
      #expect(stack.values == values)
      #expect(stack.width == 3 && stack.height == 1 && stack.channels == 1 && stack.pages == 1)
    }
    try check(8, 1, [1, 2, 255], .uint8, [1, 2, 255])
    try check(8, 2, [1, 128, 255], .int8, [1, -128, -1])
    try check(16, 1, order.samples([1, 258, 65_535] as [UInt16]), .uint16, [1, 258, 65_535])
    try check(16, 2, order.samples([1, -2, -32_768] as [Int16]), .int16, [1, -2, -32_768])
    try check(32, 1, order.samples([1, 65_536, 1 << 31] as [UInt32]), .uint32, [1, 65_536, 2_147_483_648])
    try check(32, 2, order.samples([1, -65_536, -3] as [Int32]), .int32, [1, -65_536, -3])
    let floats: [Float] = [0.5, -3.25, 1e20]
    try check(32, 3, order.samples(floats.map(\.bitPattern)), .float32, floats)
    try check(64, 3, order.samples(floats.map { Double($0).bitPattern }), .float64, floats)
  }

  @Test func whiteIsZero() throws {
    let tags8 = TIFFBuilder.tags(width: 3, height: 1, bits: 8, photometric: 0)
    #expect(try read(TIFFBuilder.file(tags8, [[0, 10, 255]])).values == [255, 245, 0])
    let tags16 = TIFFBuilder.tags(width: 2, height: 1, bits: 16, photometric: 0)
    let file16 = TIFFBuilder.file(tags16, [[0, 0, 1, 2]], bigEndian: true)
    #expect(try read(file16).values == [65_535, 65_535 - 258])
    let signed = TIFFBuilder.tags(
      width: 3, height: 1, bits: 8, photometric: 0, more: [Tag(number: 339, size: 2, values: [2])])
    #expect(try read(TIFFBuilder.file(signed, [[128, 0, 127]])).values == [127, -1, -128])
    let real = TIFFBuilder.tags(
      width: 1, height: 1, bits: 32, photometric: 0, more: [Tag(number: 339, size: 2, values: [3])])
    let data = TIFFBuilder().samples([Float(0.25).bitPattern])
    #expect(try read(TIFFBuilder.file(real, [data])).values == [0.25])
  }

  @Test func bilevel() throws {
    // Ten columns take two bytes a row.
    let data: [UInt8] = [0b1010_0001, 0b0100_0000, 0b0000_1111, 0b1000_0000]
    let expected: [Float] = [
      255, 0, 255, 0, 0, 0, 0, 255, 0, 255,
      0, 0, 0, 0, 255, 255, 255, 255, 255, 0,
    ]
    let black = try read(
      TIFFBuilder.file(TIFFBuilder.tags(width: 10, height: 2, bits: 1), [data]))
    #expect(black.values == expected)
    #expect(black.format == .uint8)
    let white = try read(
      TIFFBuilder.file(TIFFBuilder.tags(width: 10, height: 2, bits: 1, photometric: 0), [data]))
    #expect(white.values == expected.map { 255 - $0 })
  }

  @Test func palette() throws {
    func map(_ scale: UInt64) -> Tag {
      var values = [UInt64](repeating: 0, count: 768)
      for (channel, color) in [9, 80, 255].enumerated() { values[channel * 256 + 5] = UInt64(color) * scale }
      return Tag(number: 320, size: 2, values: values)
    }
    for scale: UInt64 in [1, 257] {
      let tags = TIFFBuilder.tags(width: 2, height: 1, bits: 8, photometric: 3, more: [map(scale)])
      let stack = try read(TIFFBuilder.file(tags, [[5, 0]]))
      #expect(stack.channels == 3)
      #expect(stack.values == [9, 0, 80, 0, 255, 0])
    }
    // libtiff takes the indices for greys where there is no palette.
    let bare = TIFFBuilder.tags(width: 2, height: 1, bits: 8, photometric: 3)
    #expect(try read(TIFFBuilder.file(bare, [[5, 0]])).values == [5, 0])
  }

  @Test func severalStripsOfOneByteRows() throws {
    let tags = TIFFBuilder.tags(width: 2, height: 5, bits: 8, rowsPerStrip: 2)
    let stack = try read(TIFFBuilder.file(tags, [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]))
    #expect(stack.values == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  }

  @Test func separatePlanes() throws {
    let tags = TIFFBuilder.tags(
      width: 2, height: 2, bits: 8, samples: 3, photometric: 2, rowsPerStrip: 1,
      more: [Tag(number: 284, size: 2, values: [2])])
    let stack = try read(TIFFBuilder.file(tags, [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]))
    #expect(stack.channels == 3)
    #expect(stack.values == (1...12).map { Float($0) })
  }

  @Test(arguments: [1, 3], [false, true])
  func tiles(channels: Int, separate: Bool) throws {
    // 20 × 18 pixels in tiles of 16 × 16: two across, two down, all but the first cut off.
    let (width, height) = (20, 18)
    func value(_ c: Int, _ y: Int, _ x: Int) -> UInt8 { UInt8((c * 90 + y * 7 + x * 3) % 256) }
    var tiles: [[UInt8]] = []
    for plane in 0..<(separate ? channels : 1) {
      for top in [0, 16] {
        for left in [0, 16] {
          var tile: [UInt8] = []
          for y in top..<top + 16 {
            for x in left..<left + 16 {
              for c in separate ? plane..<plane + 1 : 0..<channels { tile.append(value(c, y, x)) }
            }
          }
          tiles.append(tile)
        }
      }
    }
    let tags = TIFFBuilder.tags(
      width: width, height: height, bits: 8, samples: channels, photometric: channels == 3 ? 2 : 1,
      more: [
        Tag(number: 284, size: 2, values: [separate ? 2 : 1]), Tag(number: 322, size: 2, values: [16]),
        Tag(number: 323, size: 2, values: [16]),
      ])
    let stack = try read(TIFFBuilder.file(tags, tiles, isTiled: true))
    for c in 0..<channels {
      for y in 0..<height {
        for x in 0..<width { #expect(stack[0, c, y, x] == Float(value(c, y, x))) }
      }
    }
  }

  @Test func packBits() throws {
    let tags = TIFFBuilder.tags(
      width: 6, height: 1, bits: 8, more: [Tag(number: 259, size: 2, values: [32_773])])
    // Five times 7, then one literal byte.
    #expect(try read(TIFFBuilder.file(tags, [[0xFC, 7, 0, 9]])).values == [7, 7, 7, 7, 7, 9])
    #expect(failure { try read(TIFFBuilder.file(tags, [[0xFC, 7, 0]])) }.contains("libtiff"))
  }

  @Test func faxWithMissingRowsIsNotFilledUp() throws {
    func tags(rows: Int) -> [Tag] {
      TIFFBuilder.tags(
        width: 8, height: rows, bits: 1, photometric: 0, more: [Tag(number: 259, size: 2, values: [4])])
    }
    // A set bit is a row like the one above, and above the first row all is white.
    let white = try read(TIFFBuilder.file(tags(rows: 8), [[0xFF]]))
    #expect(white.values == Array(repeating: 255, count: 64))
    #expect(failure { try read(TIFFBuilder.file(tags(rows: 16), [[0xFF]])) }.contains("libtiff"))
  }

  @Test func unsupportedKindsSaySo() throws {
    let twelve = TIFFBuilder.tags(width: 2, height: 1, bits: 12)
    #expect(failure { try read(TIFFBuilder.file(twelve, [[1, 2, 3]])) }.contains("12 bits"))
    let lab = TIFFBuilder.tags(width: 1, height: 1, bits: 8, samples: 3, photometric: 8)
    #expect(failure { try read(TIFFBuilder.file(lab, [[1, 2, 3]])) }.contains("photometric 8"))
    let odd = TIFFBuilder.tags(
      width: 1, height: 1, bits: 8, more: [Tag(number: 259, size: 2, values: [60_000])])
    #expect(failure { try read(TIFFBuilder.file(odd, [[1]])) }.contains("compression 60000"))
    let complex = TIFFBuilder.tags(
      width: 1, height: 1, bits: 64, more: [Tag(number: 339, size: 2, values: [6])])
    let text = failure { try read(TIFFBuilder.file(complex, [[1, 2, 3, 4, 5, 6, 7, 8]])) }
    #expect(text.contains("sample format 6"))
  }

  @Test func unlikePagesAreNamed() throws {
    func page(_ width: Int, _ bits: Int, _ samples: Int, kind: UInt64 = 1) -> TIFFBuilder.Page {
      let tags = TIFFBuilder.tags(
        width: width, height: 1, bits: bits, samples: samples,
        more: [Tag(number: 339, size: 2, values: Array(repeating: kind, count: samples))])
      return TIFFBuilder.Page(
        tags: tags, blocks: [[UInt8](repeating: 3, count: width * samples * bits / 8)])
    }
    let first = page(4, 8, 1)
    for other in [page(5, 8, 1), page(4, 16, 1), page(4, 8, 2), page(4, 8, 1, kind: 2)] {
      let text = failure { try read(TIFFBuilder(pages: [first, first, other, first]).build()) }
      #expect(text.contains("page 3") && text.contains("page 1") && text.contains("4 × 1 pixels"))
    }
    #expect(try read(TIFFBuilder(pages: [first, first, first]).build()).pages == 3)
  }

  @Test func thumbnailsArePassedOver() throws {
    func page(_ width: Int, _ kind: UInt64) -> TIFFBuilder.Page {
      let tags = TIFFBuilder.tags(
        width: width, height: 1, bits: 8, more: [Tag(number: 254, size: 4, values: [kind])])
      return TIFFBuilder.Page(tags: tags, blocks: [[UInt8](repeating: UInt8(width), count: width)])
    }
    let stack = try read(TIFFBuilder(pages: [page(4, 0), page(2, 1), page(4, 2), page(2, 1)]).build())
    #expect(stack.pages == 2)
    #expect(stack.values == Array(repeating: 4, count: 8))
    #expect(try read(TIFFBuilder(pages: [page(2, 1), page(2, 1)]).build()).pages == 2)
  }

  @Test(arguments: [false, true])
  func imageJPagesBehindOneDirectory(bigEndian: Bool) throws {
    let description = TIFFBuilder.text(270, "ImageJ=1.53t\nimages=3\nslices=3\n")
    var builder = TIFFBuilder(isBigEndian: bigEndian)
    let values = (1...18).map { UInt16($0 * 300) }
    let planes = builder.samples(values)
    let tags = TIFFBuilder.tags(width: 3, height: 2, bits: 16, more: [description])
    builder.pages = [TIFFBuilder.Page(tags: tags, blocks: [Array(planes[..<12])])]
    builder.trailer = Array(planes[12...])
    let stack = try read(builder.build())
    #expect(stack.pages == 3)
    #expect(stack.values == values.map { Float($0) })
    let reader = try TIFFReader(folder("a.tif"))
    #expect(try reader.readPage(2) == stack.page(2))
    #expect(try reader.readPage(0) == stack.page(0))

    builder.trailer.removeLast()
    let cut = failure { try read(builder.build()) }
    #expect(cut.contains("3 images") && cut.contains("truncated"))

    let colors = TIFFBuilder.tags(
      width: 1, height: 2, bits: 8, samples: 3, photometric: 2,
      more: [TIFFBuilder.text(270, "ImageJ=1.53t\nimages=2\n")])
    builder.pages = [TIFFBuilder.Page(tags: colors, blocks: [[1, 2, 3, 4, 5, 6]])]
    builder.trailer = [7, 8, 9, 10, 11, 12]
    let color = try read(builder.build())
    #expect(color.pages == 2 && color.channels == 3)
    #expect(color.values == [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12])
  }

  @Test func imageJPagesThatCannotBeThere() throws {
    let description = TIFFBuilder.text(270, "ImageJ=1.53t\nimages=3\n")
    let packed = TIFFBuilder.tags(
      width: 6, height: 1, bits: 8, more: [Tag(number: 259, size: 2, values: [32_773]), description])
    var builder = TIFFBuilder(pages: [.init(tags: packed, blocks: [[0xFC, 7, 0, 9]])])
    builder.trailer = Array(repeating: 0, count: 100)
    #expect(failure { try read(builder.build()) }.contains("compressed"))

    let plain = TIFFBuilder.tags(width: 2, height: 1, bits: 8, more: [description])
    let page = TIFFBuilder.Page(tags: plain, blocks: [[1, 2]])
    builder.pages = [page, page]
    #expect(failure { try read(builder.build()) }.contains("2 page directories"))

    for images in ["99999999999", "9223372036854775807"] {
      let text = TIFFBuilder.text(270, "ImageJ=1.53t\nimages=\(images)\n")
      builder.pages = [
        .init(tags: TIFFBuilder.tags(width: 2, height: 1, bits: 8, more: [text]), blocks: [[1, 2]])
      ]
      #expect(failure { try read(builder.build()) }.contains("truncated"))
    }
    // Three pages with a directory each need no search.
    builder.pages = [page, page, page]
    #expect(try read(builder.build()).pages == 3)
  }
}
