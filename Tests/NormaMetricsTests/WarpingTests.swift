import NormaMetrics
import Testing

@Suite struct WarpingTests {
  /// The eight neighbours as (y, x) of a 3×3 slice, in the order of the bits.
  private static let around = [(1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]

  /// Whether the components of foreground (4 neighbours) and background (8) keep their numbers when the centre flips.
  private static func keepsTopology(_ neighbourhood: Picture) -> Bool {
    var cells = neighbourhood.cells
    cells[4].toggle()
    let flipped = Picture(height: 3, width: 3, cells: cells)
    return neighbourhood.componentCount(of: true) == flipped.componentCount(of: true)
      && neighbourhood.componentCount(of: false, diagonal: true) == flipped.componentCount(of: false, diagonal: true)
  }

  @Test func simplePointsOfAllNeighbourhoods() {
    for pattern in 0..<512 {
      let picture = Picture(height: 3, width: 3, cells: (0..<9).map { pattern >> $0 & 1 == 1 })
      var bits: UInt8 = 0
      for (bit, place) in Self.around.enumerated() where picture.cells[place.0 * 3 + place.1] {
        bits |= 1 << UInt8(bit)
      }
      #expect(Warping.isSimple(neighbours: bits) == Self.keepsTopology(picture), "\(picture.cells)")
    }
  }

  private func mismatches(_ truth: Picture, _ proposal: Picture, ignored: [Bool]? = nil) -> [Int] {
    Warping.mismatches(
      truth: truth.cells, probabilities: proposal.probabilities, threshold: 0.5, height: truth.height,
      width: truth.width, ignored: ignored)
  }

  @Test func byHand() {
    let truth = Picture(
      "..#..",
      "..#..",
      "..#..")
    #expect(mismatches(truth, truth) == [])
    // The same border one column further: nothing remains.
    #expect(mismatches(truth, Picture("...#.", "...#.", "...#.")) == [])
    // A gap merges the two cells: the pixel of the gap remains.
    #expect(mismatches(truth, Picture("..#..", ".....", "..#..")) == [7])
    #expect(mismatches(truth, Picture("..#..", ".....", "..#.."), ignored: (0..<15).map { $0 == 7 }) == [])
    // A branch that ends in a cell changes nothing, one that cuts the cell off does: one pixel of it remains.
    #expect(mismatches(truth, Picture("..#..", "..##.", "..#..")) == [])
    #expect(mismatches(truth, Picture("..#..", "..###", "..#..")).count == 1)
  }

  @Test func theBorderOfTheSliceIsBackground() {
    // A cell at the edge may shrink, but not vanish, and may not appear.
    let cell = Picture("..#", "###")
    #expect(mismatches(cell, Picture(".##", "###")) == [])
    #expect(mismatches(cell, Picture("###", "###")).count == 1)
    #expect(mismatches(Picture("###", "###"), cell).count == 2)
    #expect(mismatches(Picture("."), Picture("#")) == [0])
    #expect(mismatches(Picture("....#"), Picture(".....")) == [])
    #expect(mismatches(Picture("..#.."), Picture(".....")) == [2])
  }

  @Test func surePixelsComeFirst() {
    // A cell of three pixels where the proposal has none: one must stay, the one that is least sure.
    let left = Warping.mismatches(
      truth: [true, true, true], probabilities: [0.4, 0.1, 0.2], threshold: 0.5, height: 1, width: 3)
    // The middle one is surest but joins the others; then 0.2 goes, then 0.1.
    #expect(left == [0])
  }

  @Test func propertiesOnRandomSlices() {
    var generator = SplitMix(state: 4)
    for round in 0..<80 {
      let (height, width) = (Int.random(in: 1...9, using: &generator), Int.random(in: 1...9, using: &generator))
      let truth = Picture.random(
        height: height, width: width, membrane: [0.2, 0.4, 0.6][round % 3], using: &generator)
      // Few values, so that equal distances occur.
      let probabilities = (0..<height * width).map { _ in Float(Int.random(in: 0...6, using: &generator)) / 6 }
      let threshold: Float = 0.4
      let result = Warping.mismatches(
        truth: truth.cells, probabilities: probabilities, threshold: threshold, height: height, width: width)
      #expect(result == referenceMismatches(truth, probabilities, threshold))

      let remaining = Set(result)
      let warped = Picture(
        height: height, width: width,
        cells: truth.cells.indices.map { remaining.contains($0) ? truth.cells[$0] : probabilities[$0] > threshold })
      #expect(warped.framed.componentCount(of: true) == truth.framed.componentCount(of: true))
      #expect(
        warped.framed.componentCount(of: false, diagonal: true)
          == truth.framed.componentCount(of: false, diagonal: true))
    }
  }

  /// One flip after the other, the best found by looking at every pixel.
  private func referenceMismatches(_ truth: Picture, _ probabilities: [Float], _ threshold: Float) -> [Int] {
    var warped = truth
    func differs(_ pixel: Int) -> Bool { warped.cells[pixel] != (probabilities[pixel] > threshold) }
    func isSimple(_ pixel: Int) -> Bool {
      let framed = warped.framed
      let centre = (pixel / warped.width + 1) * framed.width + pixel % warped.width + 1
      let cells = (-1...1).flatMap { y in (-1...1).map { framed.cells[centre + y * framed.width + $0] } }
      return Self.keepsTopology(Picture(height: 3, width: 3, cells: cells))
    }
    while true {
      let best = warped.cells.indices.filter { differs($0) && isSimple($0) }
        .max { abs(probabilities[$0] - threshold) < abs(probabilities[$1] - threshold) }
      guard let best else { break }
      let distance = abs(probabilities[best] - threshold)
      let first = warped.cells.indices.first {
        abs(probabilities[$0] - threshold) == distance && differs($0) && isSimple($0)
      }!
      var cells = warped.cells
      cells[first].toggle()
      warped = Picture(height: warped.height, width: warped.width, cells: cells)
    }
    return warped.cells.indices.filter(differs)
  }
}
