import Testing

@testable import NormaFormats

@Suite struct ImageFileTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  @Test func kindsAreToldByContent() throws {
    let stack = try sample(pages: 2)
    // The names lie about what the files hold.
    try TIFF.write(stack, to: folder("a.png"))
    #expect(try ImageFile.read(folder("a.png")) == stack)
    try TIFF.write(stack, to: folder("a.png"), bigTIFF: true)
    #expect(try ImageFile.read(folder("a.png")) == stack)
    try PNG.write(stack.page(1), to: folder("b.tif"))
    #expect(try ImageFile.read(folder("b.tif")) == stack.page(1))

    let slices = try folder.makeFolder("slices")
    try PNG.write(stack.page(0), to: slices + "/9.png")
    try PNG.write(stack.page(1), to: slices + "/10.png")
    #expect(try ImageFile.read(slices) == stack)
  }

  @Test func otherFilesSayWhatIsSupported() throws {
    for bytes: [UInt8] in [[], [0x49], [0xFF, 0xD8, 0xFF, 0xE0], Array("GIF89a".utf8)] {
      let path = try folder.write(bytes, "a.tif")
      let text = failure { try ImageFile.read(path) }
      #expect(text.contains("TIFF") && text.contains("PNG files") && text.contains(path))
    }
    #expect(
      failure { try ImageFile.read(folder("x.tif")) }
        == "cannot read '\(folder("x.tif"))': No such file or directory")
  }
}

@Suite struct ImageStackTests {
  @Test func countIsChecked() {
    func make(_ pages: Int, _ channels: Int, _ height: Int, _ width: Int, _ count: Int) throws -> ImageStack {
      try ImageStack(
        pages: pages, channels: channels, height: height, width: width, format: .uint8,
        values: Array(repeating: 0, count: count))
    }
    #expect(throws: Never.self) { try make(2, 3, 4, 5, 120) }
    #expect(failure { try make(2, 3, 4, 5, 119) }.contains("119"))
    #expect(failure { try make(0, 3, 4, 5, 0) }.contains("not positive"))
    #expect(failure { try make(-1, -1, 4, 5, 20) }.contains("not positive"))
    #expect(failure { try make(Int.max, Int.max, 4, 5, 20) }.contains("20 values"))
  }

  @Test func partsAndPlaces() throws {
    let stack = try sample(pages: 3, channels: 2)
    #expect(stack.valuesPerPage == 70)
    #expect(stack[2, 1, 4, 6] == stack.values.last)
    #expect(stack[1, 0, 2, 3] == stack.values[70 + 2 * 7 + 3])
    #expect(stack.page(1).values == Array(stack.values[70..<140]))
    #expect(stack.pages(1..<3).values == Array(stack.values[70...]))
    #expect(stack.page(1).hasLayout(of: stack))
    #expect(!stack.hasLayout(of: try sample(pages: 3, channels: 1)))
    #expect(stack.layoutDescription == "7 × 5 pixels, 2 channels, uint8")
  }

  @Test func formatsKnowTheirLimits() {
    #expect(SampleFormat.allCases.map(\.bytesPerSample) == [1, 2, 4, 1, 2, 4, 4, 8])
    #expect(SampleFormat.uint16.range == 0...65_535)
    #expect(SampleFormat.int8.range == -128...127)
    #expect(SampleFormat.float32.range == nil)
  }

  @Test func memoryIsCheckedBeforeItIsTaken() {
    func check(_ count: Int?) throws { try checkMemory(floats: count, path: "a.tif", advice: "read less") }
    #expect(throws: Never.self) { try check(1 << 16) }
    for count in [nil, Int.max, 1 << 50] {
      let text = failure { try check(count) }
      #expect(text.contains("a.tif") && text.contains("memory; read less"))
    }
  }
}
