import Foundation
import NormaFormats
import TestSupport
import Testing

@testable import NormaData

@Suite struct ImageFilesTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func message(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "nothing was wrong"
    } catch {
      return error is DataError || error is FormatError ? "\(error)" : "\(type(of: error)): \(error)"
    }
  }

  private func idx(_ name: String, _ shape: [Int], _ bytes: [UInt8], _ format: SampleFormat = .uint8) throws -> String {
    try IDX.write(IDXArray(shape: shape, format: format, bytes: bytes), to: folder.path(name))
    return folder.path(name)
  }

  private func png(_ name: String, _ picture: ImageStack) throws {
    let path = folder.path(name)
    try FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try PNG.write(picture, to: path)
  }

  @Test func mnist() throws {
    let images = try idx("images.gz", [3, 2, 2], Array(0..<12))
    let labels = try idx("labels", [3], [2, 0, 2])
    let data = try ImageDataset.mnist(images: images, labels: labels)
    #expect(data.targets == .classes([2, 0, 2], names: ["0", "1", "2"]))
    #expect(data.image(1) == [4, 5, 6, 7].map { $0 / 255 } && data.height == 2 && data.channels == 1)
    #expect(try ImageDataset.mnist(images: images, labels: labels, classes: 10).classCounts?.count == 10)
    func kind(_ images: String, _ labels: String, classes: Int? = nil) -> DataError.Kind? {
      errorKind { _ = try ImageDataset.mnist(images: images, labels: labels, classes: classes) }
    }
    #expect(kind(labels, images) == .files)
    #expect(kind(images, images) == .files)
    #expect(kind(images, labels, classes: 2) == .labelValue)
    #expect(kind(images, labels, classes: 0) == .parameter)
    #expect(kind(images, try idx("four", [4], [0, 0, 0, 0])) == .pageCount)
    #expect(kind(images, try idx("signed", [3], [0, 0xFF, 0], .int8)) == .labelValue)
    #expect(kind(images, try idx("real", [3], Array(repeating: 0, count: 12), .float32)) == .files)
    #expect(kind(try idx("none", [0, 2, 2], []), try idx("no labels", [0], [])) == .files)
    let huge = try idx("huge", [3], [0, 0, 0, 1, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 2], .int32)
    #expect(kind(images, huge) == .labelValue && kind(images, huge, classes: .max) == .labelValue)
  }

  @Test(.enabled(if: Python.imports("gzip"))) func mnistPackedByPython() throws {
    let script = """
      import gzip, struct, sys
      images = bytes(i * 7 % 256 for i in range(50 * 28 * 28))
      with gzip.open(sys.argv[1] + '/i.gz', 'wb') as file: file.write(struct.pack('>4B3I', 0, 0, 8, 3, 50, 28, 28) + images)
      with gzip.open(sys.argv[1] + '/l.gz', 'wb') as file: file.write(struct.pack('>4BI', 0, 0, 8, 1, 50) + bytes(i % 10 for i in range(50)))
      """
    try Python.run(script, folder.url.path)
    let data = try ImageDataset.mnist(images: folder.path("i.gz"), labels: folder.path("l.gz"))
    #expect(
      data.pixels == .bytes((0..<50 * 784).map { UInt8($0 * 7 % 256) })
        && data.classCounts == Array(repeating: 5, count: 10))
  }

  @Test func cifar() throws {
    let image = (0..<3072).map { UInt8(truncatingIfNeeded: $0 / 12) }
    for (name, bytes) in [("a", [7] + image), ("b", [0] + image.reversed()), ("c", [1, 55] + image)] {
      try Data(bytes).write(to: folder.url.appendingPathComponent(name))
    }
    let data = try ImageDataset.cifar10([folder.path("a"), folder.path("b")])
    guard case .classes(let classes, let names) = data.targets else {
      Issue.record("CIFAR has classes")
      return
    }
    #expect(classes == [7, 0] && names[7] == "horse" && data.channels == 3 && data.height == 32)
    #expect(data.image(0) == image.map { Float($0) / 255 })
    #expect(try ImageDataset.cifar100([folder.path("c")]).classCounts?[55] == 1)
    #expect(try ImageDataset.cifar100([folder.path("c")], coarse: true).classCounts?[1] == 1)
    #expect(errorKind { _ = try ImageDataset.cifar10([]) } == .parameter)
    #expect(message { _ = try ImageDataset.cifar10([folder.path("c")]) }.contains("records of 3073 bytes"))
  }

  @Test func imageFolder() throws {
    // As large as the side, so that the pixels stay; the longer side loses its ends.
    try png("pets/dog/10.png", stack(height: 2, width: 2) { _, _, y, x in Float(10 * y + x) })
    try png("pets/dog/9.png", stack(height: 2, width: 4) { _, _, y, x in Float(100 + 10 * y + x) })
    try png(
      "pets/cat/wide.PNG",
      stack(channels: 2, height: 4, width: 2, format: .uint16) { _, c, y, x in
        c == 1 ? 7 : Float(257 * (200 + 10 * y + x))
      })
    try Data("x".utf8).write(to: folder.url.appendingPathComponent("pets/notes.txt"))
    try Data("x".utf8).write(to: folder.url.appendingPathComponent("pets/cat/.hidden"))
    let data = try ImageDataset.imageFolder(folder.path("pets"), side: 2)
    #expect(data.targets == .classes([0, 1, 1], names: ["cat", "dog"]) && data.channels == 1)
    #expect(data.pixels == .bytes([210, 211, 220, 221, 101, 102, 111, 112, 0, 1, 10, 11]))
    let all = try ImageDataset.pictures(folder.path("pets/dog"), side: 2)
    #expect(all.count == 2 && all.image(1) == data.image(2))
  }

  @Test func imageFoldersThatAreNone() throws {
    func reason(side: Int = 2) -> String {
      message { _ = try ImageDataset.imageFolder(folder.path("set"), side: side) }
    }
    #expect(reason().contains("No such file"))
    let grey = stack(height: 2, width: 2) { _, _, _, _ in 1 }
    try png("set/a/1.png", grey)
    #expect(reason().contains("at least two classes") && reason().contains("only 'a'"))
    try FileManager.default.createDirectory(atPath: folder.path("set/b"), withIntermediateDirectories: true)
    #expect(reason().contains("set/b', received none"))
    try png("set/b/1.png", grey)
    #expect(reason() == "nothing was wrong")
    #expect(reason(side: 0).contains("side of at least 1") && reason(side: 1 << 40).contains("lower it"))
    try png("set/b/2.png", stack(channels: 3, height: 2, width: 2) { _, c, _, _ in Float(c) })
    #expect(
      reason().contains("all grey or all in colour") && reason().contains("set/a/1.png")
        && reason().contains("set/b/2.png"))
    try Data([0x89, 0x50]).write(to: folder.url.appendingPathComponent("set/b/2.png"))
    #expect(reason().contains("set/b/2.png") && reason().contains("not a PNG file"))
    try Data("x".utf8).write(to: folder.url.appendingPathComponent("set/a/photo.jpg"))
    #expect(reason().contains("'photo.jpg'"))
  }

  @Test func resizingKeepsConstantsAndRamps() {
    for (height, width, side) in [(5, 9, 4), (40, 33, 16), (3, 3, 7), (1, 6, 2), (7, 1, 1)] {
      let constant = stack(height: height, width: width) { _, _, _, _ in 93 }
      #expect(ImageResizer.square(constant, channels: 1, side: side).allSatisfy { abs($0 - 93) < 1e-4 })
    }
    // A ramp of 64 columns halved: away from the edges, the values between two columns.
    let ramp = stack(height: 64, width: 64) { _, _, _, x in Float(x) }
    let half = ImageResizer.square(ramp, channels: 1, side: 32)
    for x in 1..<31 { #expect(abs(half[32 * 5 + x] - (2 * Float(x) + 0.5)) < 1e-4) }
    // A pattern finer than the new pixels becomes grey.
    let fine = stack(height: 64, width: 64) { _, _, y, x in (x + y) % 2 == 0 ? 0 : 200 }
    #expect(ImageResizer.square(fine, channels: 1, side: 16)[5 * 16..<10 * 16].allSatisfy { abs($0 - 100) < 1 })
  }

  @Test(.enabled(if: Python.imports("torch"))) func resizingIsThatOfPyTorch() throws {
    var random = RandomSource(seed: 2)
    let sizes = [(50, 50, 17), (31, 31, 64), (90, 45, 20), (45, 91, 45)]
    let pictures = sizes.map { height, width, _ in
      stack(channels: 2, height: height, width: width) { _, _, _, _ in Float(random.integer(below: 256)) }
    }
    for (index, picture) in pictures.enumerated() {
      _ = try idx("\(index)", [2, picture.height, picture.width], picture.values.map { UInt8($0) })
    }
    let script = """
      import sys, torch
      for index, size in enumerate(sys.argv[2].split(';')):
          height, width, side = map(int, size.split(','))
          data = bytearray(open(f'{sys.argv[1]}/{index}', 'rb').read()[16:])
          picture = torch.frombuffer(data, dtype=torch.uint8).float().reshape(1, 2, height, width)
          short = min(height, width)
          new = [side if e == short else (e * side + short // 2) // short for e in (height, width)]
          out = torch.nn.functional.interpolate(picture, new, mode='bilinear', antialias=True)
          y, x = (new[0] - side) // 2, (new[1] - side) // 2
          print(*out[0, :, y:y + side, x:x + side].flatten().tolist())
      """
    let words = sizes.map { "\($0),\($1),\($2)" }.joined(separator: ";")
    let lines = String(decoding: try Python.run(script, folder.url.path, words), as: UTF8.self).split(separator: "\n")
    #expect(lines.count == sizes.count)
    for (index, line) in lines.enumerated() {
      let expected = line.split(separator: " ").compactMap { Float($0) }
      let found = ImageResizer.square(pictures[index], channels: 2, side: sizes[index].2)
      #expect(found.count == expected.count && zip(found, expected).allSatisfy { abs($0 - $1) < 2e-3 })
    }
  }

  private func flow(
    _ name: String, pages: Int = 3, channels: Int = 1, height: Int = 2, format: SampleFormat = .float32, base: Float
  ) throws
    -> String
  {
    let values = stack(pages: pages, channels: channels, height: height, width: 2, format: format) { page, _, y, x in
      base + Float(10 * page + 2 * y + x)
    }
    try TIFF.write(values, to: folder.path(name))
    return folder.path(name)
  }

  private func csv(_ text: String) throws -> String {
    try Data(text.utf8).write(to: folder.url.appendingPathComponent("scores.csv"))
    return folder.path("scores.csv")
  }

  @Test func spotting() throws {
    let (u, v) = (try flow("u.tif", base: -5.5), try flow("v.tif", base: 0.25))
    let strain = try flow("s.tif", format: .int16, base: -300)
    func data(_ text: String) throws -> ImageDataset {
      try ImageDataset.spotting(u: u, v: v, strain: strain, scores: csv(text))
    }
    let plain = try data("score\n0.5\n1\n-2\n")
    #expect(plain.channels == 3 && plain.count == 3 && plain.targets == .values([0.5, 1, -2], name: "score"))
    #expect(plain.image(1) == [4.5, 5.5, 6.5, 7.5, 10.25, 11.25, 12.25, 13.25, -290, -289, -288, -287])
    #expect(try data("spot\n0.5\n1\n-2\n").targets == plain.targets)
    #expect(try data("subject,Frame,Score\na,3,-2\na,1,0.5\na,2,1\n").targets == plain.targets)
    #expect(try data("page,score\n2,-2\n1,1\n0,0.5\n").targets == plain.targets)
    func reason(_ text: String) -> String { message { _ = try data(text) } }
    #expect(reason("a,b\n1,2\n").contains("a column 'score', received 'a', 'b'"))
    #expect(reason("score\n1\n2\n").contains("each of the 3 pages, received 2 rows"))
    #expect(reason("score\n1\nx\n2\n").contains("line 3, column 1 ('score')"))
    for page in ["1", "4", "2.5", "-1", "1e300"] {
      #expect(
        reason("page,score\n1,1\n2,1\n\(page),1\n").contains(
          "once each in the column 'page', received '\(page)' in line 4"))
    }
    #expect(reason("page,score\n0,1\n1,1\n3,1\n").contains("the pages 0 to 2 once each"))
    func kind(_ v: String) -> DataError.Kind? {
      errorKind { _ = try ImageDataset.spotting(u: u, v: v, strain: strain, scores: csv("score\n1\n2\n3\n")) }
    }
    #expect(kind(v) == nil)
    #expect(kind(try flow("p.tif", pages: 2, base: 0)) == .pageCount)
    #expect(kind(try flow("h.tif", height: 3, base: 0)) == .size)
    #expect(kind(try flow("c.tif", channels: 3, base: 0)) == .size)
    #expect(kind(try flow("n.tif", base: .nan)) == .imageValue)
    #expect(
      message { _ = try ImageDataset.spotting(u: "none", v: v, strain: strain, scores: "none") }.contains("'none'"))
  }
}
