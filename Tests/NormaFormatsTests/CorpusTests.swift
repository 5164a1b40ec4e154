import Foundation
import Testing

@testable import NormaFormats

/// The files in Tests/Corpus that norma-fuzz breaks: small ones of every kind that is read.
///
/// With NORMA_WRITE_CORPUS set they are made anew.
@Suite struct CorpusTests {
  typealias Tag = TIFFBuilder.Tag
  let folder: Folder

  init() throws { folder = try Folder() }

  static func path(_ format: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Corpus/\(format)").path
  }

  @Test func tiff() throws {
    try check("tiff", tiffFiles()) { _ = try TIFF.read($0) }
  }

  @Test func png() throws {
    try check("png", pngFiles()) { _ = try PNG.read($0) }
  }

  @Test func safetensors() throws {
    try check("safetensors", safetensorsFiles()) { path in
      let reader = try SafetensorsReader(path)
      for entry in reader.entries { _ = try reader.bytes(of: entry) }
    }
  }

  @Test func idx() throws {
    try check("idx", idxFiles()) { _ = try IDX.read($0) }
  }

  @Test func cifar() throws {
    let image = (0..<CIFAR.imageBytes).map { UInt8(truncatingIfNeeded: $0 / 40) }
    try check("cifar", ["one10.bin": [3] + image, "two100.bin": [19, 99] + image + [0, 7] + image.reversed()]) { path in
      _ = try CIFAR.read(path, path.hasSuffix("10.bin") ? .cifar10 : .cifar100)
    }
  }

  @Test func csv() throws {
    let files = [
      "scores.csv": "frame,score\n1,0.25\n2,1e-3\n3,-7\n",
      "quoted.csv": "\"name\",\"a \"\"b\"\"\",c\r\n\"x,y\",\"two\nlines\", 5 \r\n,,\"\"",
      "one.csv": "\u{FEFF}score\n\n0\n1\n0.5",
    ]
    try check("csv", files.mapValues { Array($0.utf8) }) { _ = try CSV.read($0) }
  }

  /// Every kind is there, and every file can be read, as broken ones are to be nearly good.
  private func check(_ format: String, _ made: [String: [UInt8]], _ read: (String) throws -> Void) throws {
    let corpus = Self.path(format)
    if ProcessInfo.processInfo.environment["NORMA_WRITE_CORPUS"] != nil {
      try FileManager.default.createDirectory(atPath: corpus, withIntermediateDirectories: true)
      for (name, bytes) in made { try Data(bytes).write(to: URL(fileURLWithPath: corpus + "/" + name)) }
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: corpus).sorted() == made.keys.sorted())
    for name in made.keys { try read(corpus + "/" + name) }
  }

  private func tiffFiles() throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    func write(_ name: String, _ stack: ImageStack, _ compression: TIFF.Compression, big: Bool = false) throws {
      try TIFF.write(stack, to: folder("v"), compression: compression, bigTIFF: big)
      files[name] = try folder.bytes("v")
    }
    try write("written-none-3-pages.tif", sample(pages: 3, format: .uint8), .none)
    try write("written-lzw-2-pages.tif", sample(pages: 2, height: 40, width: 30, format: .uint16), .lzw)
    try write("written-deflate-rgb.tif", sample(channels: 3, height: 20, width: 20), .deflate)
    try write("written-big-planar-float.tif", sample(channels: 2, format: .float32), .none, big: true)
    try write("written-deflate-double.tif", sample(format: .float64), .deflate)

    func value(_ number: Int, _ values: UInt64...) -> Tag { Tag(number: number, size: 2, values: values) }
    let strips = TIFFBuilder.Page(
      tags: TIFFBuilder.tags(
        width: 3, height: 5, bits: 8, rowsPerStrip: 2, more: [TIFFBuilder.text(270, "some words")]),
      blocks: [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], [13, 14, 15]])
    let thumbnail = TIFFBuilder.Page(
      tags: TIFFBuilder.tags(width: 2, height: 1, bits: 8, more: [Tag(number: 254, size: 4, values: [1])]),
      blocks: [[1, 2]])
    files["strips-big-endian-thumbnail.tif"] = TIFFBuilder(isBigEndian: true, pages: [strips, thumbnail, strips])
      .build()
    files["strips-big-tiff.tif"] = TIFFBuilder(isBig: true, pages: [strips]).build()
    let int16 = TIFFBuilder.tags(width: 4, height: 2, bits: 16, photometric: 0, more: [value(339, 2)])
    files["int16-white-is-zero.tif"] = TIFFBuilder.file(int16, [Array(0..<16)], bigEndian: true)

    let tile = (0..<256).map { UInt8($0) }
    func tiled(_ channels: Int, _ more: Tag...) -> [Tag] {
      TIFFBuilder.tags(
        width: 20, height: 3, bits: 8, samples: channels, photometric: channels == 3 ? 2 : 1,
        more: [value(322, 16), value(323, 16)] + more)
    }
    files["tiles.tif"] = TIFFBuilder.file(tiled(1), [tile, tile], isTiled: true)
    files["tiles-planar.tif"] = TIFFBuilder.file(
      tiled(3, value(284, 2)), Array(repeating: tile, count: 6), isTiled: true, bigEndian: true)
    let planar = TIFFBuilder.tags(
      width: 2, height: 2, bits: 8, samples: 3, photometric: 2, rowsPerStrip: 1, more: [value(284, 2)])
    files["strips-planar.tif"] = TIFFBuilder.file(planar, [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]])

    let palette = TIFFBuilder.tags(
      width: 2, height: 1, bits: 8, photometric: 3, more: [Tag(number: 320, size: 2, values: Array(0..<768))])
    files["palette.tif"] = TIFFBuilder.file(palette, [[5, 0]])
    files["bilevel.tif"] = TIFFBuilder.file(
      TIFFBuilder.tags(width: 10, height: 2, bits: 1), [[0b1010_0001, 0b0100_0000, 0b0000_1111, 0b1000_0000]])
    files["bilevel-fax4.tif"] = TIFFBuilder.file(
      TIFFBuilder.tags(width: 8, height: 8, bits: 1, photometric: 0, more: [value(259, 4)]), [[0xFF]])
    files["packbits.tif"] = TIFFBuilder.file(
      TIFFBuilder.tags(width: 6, height: 2, bits: 8, rowsPerStrip: 1, more: [value(259, 32_773)]),
      [[0xFC, 7, 0, 9], [0x05, 1, 2, 3, 4, 5, 6]])

    let description = TIFFBuilder.text(270, "ImageJ=1.53t\nimages=3\nslices=3\n")
    var stack = TIFFBuilder(
      isBigEndian: true,
      pages: [
        .init(
          tags: TIFFBuilder.tags(width: 3, height: 2, bits: 16, rowsPerStrip: 1, more: [description]),
          blocks: [Array(0..<6), Array(6..<12)])
      ])
    stack.trailer = Array(12..<36)
    files["imagej-contiguous.tif"] = stack.build()
    return files
  }

  private func pngFiles() throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for (name, format, channels) in [
      ("grey8", SampleFormat.uint8, 1), ("grey16", .uint16, 1), ("grey-alpha", .uint8, 2), ("rgb16", .uint16, 3),
      ("rgb-alpha", .uint8, 4),
    ] {
      try PNG.write(sample(channels: channels, height: 9, width: 11, format: format), to: folder("v"))
      files[name + ".png"] = try folder.bytes("v")
    }
    let builder = try PNGTests()
    files["palette-alpha-gamma.png"] = builder.file(
      width: 3, height: 2, depth: 8, color: 3, palette: [1, 2, 3, 4, 5, 6], alpha: [7], gamma: true,
      rows: [0, 1, 0, 1, 0, 0, 1, 0])
    files["palette2.png"] = builder.file(
      width: 5, height: 1, depth: 2, color: 3, palette: Array(0..<12), rows: [0, 0x1B, 0x40])
    files["grey1.png"] = builder.file(width: 5, height: 2, depth: 1, color: 0, rows: [0, 0xB0, 1, 0x80])
    files["filters.png"] = builder.file(
      width: 2, height: 5, depth: 8, color: 0, rows: [0, 1, 2, 1, 1, 2, 2, 1, 2, 3, 1, 2, 4, 1, 2])
    return files
  }

  private func idxFiles() throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for format in IDX.types.values {
      for ending in ["", ".gz"] {
        let name = "\(format.rawValue).idx\(ending)"
        let bytes = (0..<12 * format.bytesPerSample).map { UInt8(truncatingIfNeeded: $0 &* 29) }
        try IDX.write(IDXArray(shape: [2, 3, 2], format: format, bytes: bytes), to: folder(name))
        files[name] = try folder.bytes(name)
      }
    }
    try IDX.write(IDXArray(shape: [40], format: .uint8, bytes: Array(repeating: 3, count: 40)), to: folder("labels"))
    files["labels.idx"] = try folder.bytes("labels")
    return files
  }

  private func safetensorsFiles() throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    func entry(_ name: String, _ type: Safetensors.ElementType, _ shape: [Int]) -> Safetensors.Entry {
      .init(name: name, type: type, shape: shape) {
        (0..<shape.reduce(type.size, *)).map { UInt8(truncatingIfNeeded: $0 &* 37) }
      }
    }
    func write(_ name: String, _ entries: [Safetensors.Entry], _ metadata: [String: String] = [:]) throws {
      try Safetensors.write(entries, metadata: metadata, to: folder("v"))
      files[name] = try folder.bytes("v")
    }
    try write("one.safetensors", [entry("weight", .f32, [2, 3])])
    try write(
      "network.safetensors",
      [
        entry("blocks.0.convolution.weight", .f32, [2, 1, 3, 3]), entry("blocks.0.norm.weight", .f32, [2]),
        entry("blocks.0.norm.running_mean", .f32, [2]), entry("blocks.0.norm.num_batches_tracked", .i64, []),
      ], ["network": #"{"kind":"unet","width":2}"#, "norm": "batch:ghost=2"])
    try write(
      "types.safetensors",
      Safetensors.ElementType.allCases.map { entry($0.rawValue, $0, [2]) } + [entry("none", .u8, [0, 4])])
    try write("names.safetensors", [entry("a\"\\é\n", .u8, [3]), entry("", .bf16, [1, 1])], ["": "x"])
    try write("empty.safetensors", [])
    return files
  }
}
