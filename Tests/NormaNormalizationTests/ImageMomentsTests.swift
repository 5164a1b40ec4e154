import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

/// Parts of an image under the moments of the whole.
@Suite struct ImageMomentsTests {
  private func image(_ shape: [Int]) throws -> Tensor {
    var random = TestRandom(11)
    let count = shape.reduce(1, *)
    // Different from column to column.
    return try Tensor(
      random.numbers(count).enumerated().map { 3 + $1 * (1 + Double($0 % shape[3])) }, shape: shape)
  }

  private func measure(_ moments: ImageMoments, _ columns: Range<Int>, _ body: () throws -> Void) throws -> Bool {
    try moments.measure(.init(rows: 0..<6, columns: columns, height: 6, width: 10), body)
  }

  @Test(
    arguments: [
      "instance", "layer", "group:2", "switchable", "switchable:pytorch", "switchable:instance+group(2)", "rms", "frn",
      "evo-s0:2", "evo-b0",
    ])
  func aPartIsNormalizedAsInTheWhole(norm: String) throws {
    let layer = try #require(try Normalization(parsing: norm).layer(channels: 4))
    layer.evaluate()
    #expect(try layer.imageStatisticsCount == 1)
    let x = try image([1, 4, 6, 10])
    try withoutGradients {
      let moments = ImageMoments()
      for columns in [0..<3, 3..<10] {
        #expect(try measure(moments, columns) { _ = try layer(x) })
      }
      moments.fixMeasured()
      #expect(moments.count == 1)
      #expect(try !measure(moments, 0..<10) { _ = try layer(x) })
      let part = try x.sliced(2..<7, dimension: 3)
      let expected = try layer(x).sliced(2..<7, dimension: 3).array(of: Double.self)
      let found = try moments.apply { try layer(part) }.array(of: Double.self)
      #expect(relativeError(found, expected) < 1e-6)
      #expect(try relativeError(layer(part).array(), expected) > 1e-3)
    }
  }

  /// Running statistics are the image's own already.
  @Test func runningStatisticsAreLeftAlone() throws {
    let layer = try BatchNorm(channels: 4)
    #expect(try layer.imageStatisticsCount == 1)
    layer.evaluate()
    #expect(try layer.imageStatisticsCount == 0)
    let x = try image([1, 4, 6, 10])
    let moments = ImageMoments()
    #expect(try !measure(moments, 0..<10) { _ = try layer(x) })
  }

  @Test func passesThatDifferSaySo() throws {
    let layer = try InstanceNorm(channels: 4)
    let moments = ImageMoments()
    #expect(try measure(moments, 0..<10) { _ = try layer(image([1, 4, 6, 10])) })
    moments.fixMeasured()
    for shape in [[2, 4, 6, 10], [1, 3, 6, 10]] {
      let other = try InstanceNorm(channels: shape[1])
      let error = #expect(throws: NormalizationError.self) { _ = try moments.apply { try other(image(shape)) } }
      #expect(error?.description.contains("4 channels") == true)
    }
    // Half a position cannot be measured.
    #expect(throws: NormalizationError.self) {
      try measure(ImageMoments(), 0..<5) { _ = try layer(image([1, 4, 3, 5])) }
    }
  }
}
