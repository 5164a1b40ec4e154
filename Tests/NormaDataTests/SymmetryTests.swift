import NormaFormats
import Testing

@testable import NormaData

@Suite struct SymmetryTests {
  /// 1 2 3
  /// 4 5 6
  /// 7 8 9
  private func moved(_ index: Int) -> [Int] {
    let source = Array(1...9)
    var target = [Int](repeating: 0, count: 9)
    source.withUnsafeBufferPointer { source in
      target.withUnsafeMutableBufferPointer { target in
        Symmetry(index: index).copy(
          from: source.baseAddress!, width: 3, origin: (0, 0), side: 3, to: target.baseAddress!)
      }
    }
    return target
  }

  @Test func symmetriesMoveTheSquare() {
    #expect(moved(0) == [1, 2, 3, 4, 5, 6, 7, 8, 9])
    #expect(moved(1) == [3, 2, 1, 6, 5, 4, 9, 8, 7])
    #expect(moved(2) == [7, 8, 9, 4, 5, 6, 1, 2, 3])
    #expect(moved(3) == [9, 8, 7, 6, 5, 4, 3, 2, 1])
    #expect(moved(4) == [1, 4, 7, 2, 5, 8, 3, 6, 9])
    // A quarter turn each way, then the other diagonal.
    #expect(moved(5) == [3, 6, 9, 2, 5, 8, 1, 4, 7])
    #expect(moved(6) == [7, 4, 1, 8, 5, 2, 9, 6, 3])
    #expect(moved(7) == [9, 6, 3, 8, 5, 2, 7, 4, 1])
    #expect(Set((0..<8).map(moved)).count == 8)
  }

  @Test func cropsAreMovedWithinTheSlice() {
    let source = Array(0..<20)  // 4 rows of 5
    var target = [Int](repeating: -1, count: 4)
    source.withUnsafeBufferPointer { source in
      target.withUnsafeMutableBufferPointer { target in
        Symmetry(index: 1).copy(
          from: source.baseAddress!, width: 5, origin: (2, 1), side: 2, to: target.baseAddress!)
      }
    }
    #expect(target == [8, 7, 13, 12])
  }

  @Test(arguments: Symmetry.all)
  func labelsAndWeightsMoveWithImages(symmetry: Symmetry) throws {
    let data = try tellingDataset(height: 40, width: 37)
    var transform = SampleTransform()
    transform.symmetry = symmetry
    let sample = render(data, page: 1, origin: (1, 3), side: 35, transform, weighting: BorderWeighting())
    for (grey, label) in zip(sample.image, sample.labels) {
      #expect(grey == (40 * Float(label) + 11) / 255)
    }
    let weights = data.borderWeights(page: 1)
    let places = place(symmetry, side: 35, origin: (1, 3), width: 37)
    #expect(sample.weights == places.map { weights[$0] })
  }

  /// Copying and warping agree, hence the matrix and the copy are the same symmetry.
  @Test(arguments: Symmetry.all)
  func warpAppliesTheSameSymmetry(symmetry: Symmetry) throws {
    let data = try tellingDataset(height: 9, width: 11)
    for side in [6, 7] {
      var exact = SampleTransform()
      exact.symmetry = symmetry
      var warped = exact
      warped.elastic = ElasticGrid(
        x: [Float](repeating: 0, count: 9), y: [Float](repeating: 0, count: 9))
      #expect(exact.isExact && !warped.isExact)
      let expected = render(data, origin: (2, 1), side: side, exact, weighting: BorderWeighting())
      #expect(render(data, origin: (2, 1), side: side, warped, weighting: BorderWeighting()) == expected)
    }
  }

  /// A quarter turn, (x, y) to (−y, x), after each symmetry is another one, by the product of their matrices.
  @Test func linearMapComesAfterSymmetry() throws {
    let data = try tellingDataset(height: 7, width: 7)
    let turned = [(0, 5), (1, 7), (2, 4), (3, 6), (4, 1), (5, 3), (6, 0), (7, 2)]
    for (before, after) in turned {
      var warped = SampleTransform()
      warped.symmetry = Symmetry(index: before)
      warped.linear = SampleTransform.Linear(xx: 0, xy: -1, yx: 1, yy: 0)
      var exact = SampleTransform()
      exact.symmetry = Symmetry(index: after)
      #expect(render(data, side: 7, warped) == render(data, side: 7, exact), "\(before)")
    }
  }

  private func place(_ symmetry: Symmetry, side: Int, origin: (x: Int, y: Int), width: Int) -> [Int] {
    (0..<side * side).map { pixel in
      var (x, y) = (pixel % side, pixel / side)
      if symmetry.index & 4 != 0 { (x, y) = (y, x) }
      if symmetry.index & 1 != 0 { x = side - 1 - x }
      if symmetry.index & 2 != 0 { y = side - 1 - y }
      return (origin.y + y) * width + origin.x + x
    }
  }
}
