/// The same numbers on every run (Steele et al.'s SplitMix64).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// A binary slice drawn in text: "." is a cell, "#" a membrane.
struct Picture {
  let cells: [Bool]
  let height: Int
  let width: Int

  init(_ rows: String...) {
    height = rows.count
    width = rows[0].count
    cells = rows.joined().map { $0 == "." }
  }

  init(height: Int, width: Int, cells: [Bool]) {
    (self.height, self.width, self.cells) = (height, width, cells)
  }

  static func random(height: Int, width: Int, membrane: Double, using generator: inout SplitMix) -> Picture {
    let cells = (0..<height * width).map { _ in Double.random(in: 0..<1, using: &generator) >= membrane }
    return Picture(height: height, width: width, cells: cells)
  }

  var truth: [UInt8] { cells.map { $0 ? 1 : 0 } }
  var probabilities: [Float] { cells.map { $0 ? 1 : 0 } }

  func neighbours4(_ pixel: Int) -> [Int] {
    neighbours(pixel).filter { $0 / width == pixel / width || $0 % width == pixel % width }
  }

  /// The pixels of the slice among the eight around one.
  func neighbours(_ pixel: Int) -> [Int] {
    let (y, x) = (pixel / width, pixel % width)
    var result: [Int] = []
    for v in max(y - 1, 0)...min(y + 1, height - 1) {
      for u in max(x - 1, 0)...min(x + 1, width - 1) where v != y || u != x { result.append(v * width + u) }
    }
    return result
  }

  /// Components of the pixels of one kind by repeated spreading of the smallest number: slow and plain. 0 elsewhere.
  func components(of kind: Bool, diagonal: Bool = false) -> [Int32] {
    var labels = cells.indices.map { cells[$0] == kind ? Int32($0 + 1) : 0 }
    var changes = true
    while changes {
      changes = false
      for pixel in labels.indices where labels[pixel] > 0 {
        for neighbour in diagonal ? neighbours(pixel) : neighbours4(pixel) where labels[neighbour] > labels[pixel] {
          labels[neighbour] = labels[pixel]
          changes = true
        }
      }
    }
    return labels
  }

  func componentCount(of kind: Bool, diagonal: Bool = false) -> Int {
    Set(components(of: kind, diagonal: diagonal)).subtracting([0]).count
  }

  /// One more pixel of membrane on every side.
  var framed: Picture {
    var framed = [Bool](repeating: false, count: (height + 2) * (width + 2))
    for pixel in cells.indices { framed[(pixel / width + 1) * (width + 2) + pixel % width + 1] = cells[pixel] }
    return Picture(height: height + 2, width: width + 2, cells: framed)
  }
}
