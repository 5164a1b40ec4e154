import NormaFormats
import Testing

@testable import NormaData

@Suite struct BorderWeightingTests {
  private func components(_ picture: [String]) -> (components: [Int32], count: Int) {
    let labels = picture.joined().utf8.map { $0 == UInt8(ascii: "#") ? UInt8(1) : 0 }
    return labels.withUnsafeBufferPointer {
      ConnectedComponents.number($0, class: 1, height: picture.count, width: picture[0].utf8.count)
    }
  }

  @Test func componentsTouchAlongSidesOnly() {
    let (numbers, count) = components([
      "##.#",
      "..#.",
      "#.##",
      "#...",
    ])
    #expect(count == 4)
    #expect(numbers == [1, 1, 0, 2, 0, 0, 3, 0, 4, 0, 3, 3, 4, 0, 0, 0])
  }

  @Test func windingShapesAreOneComponent() {
    let (numbers, count) = components([
      "#####",
      "#...#",
      "#.#.#",
      "#...#",
      "####.",
    ])
    #expect(count == 2)
    #expect(numbers[14] == 1 && numbers[12] == 2)
  }

  /// Squared distances to the nearest and second nearest component, by looking at every pixel.
  private func bruteForce(_ components: [Int32], count: Int, width: Int, pixel: Int) -> [Int32] {
    var squares = [Int32](repeating: .max, count: count)
    for (other, component) in components.enumerated() where component > 0 {
      let (dx, dy) = (other % width - pixel % width, other / width - pixel / width)
      squares[Int(component) - 1] = min(squares[Int(component) - 1], Int32(dx * dx + dy * dy))
    }
    return squares.sorted()
  }

  @Test(arguments: [0.03, 0.1, 0.3, 0.6])
  func nearestPairsEqualBruteForce(density: Double) {
    var random = RandomSource(seed: 11)
    for (height, width) in [(1, 17), (17, 1), (12, 19), (20, 13)] {
      let labels = (0..<height * width).map { _ in random.uniform() < density ? UInt8(1) : 0 }
      let (components, count) = labels.withUnsafeBufferPointer {
        ConnectedComponents.number($0, class: 1, height: height, width: width)
      }
      let pairs = NearestComponents.pairs(components: components, height: height, width: width)
      for pixel in pairs.indices {
        let expected = bruteForce(components, count: count, width: width, pixel: pixel)
        #expect(pairs[pixel].firstSquare == expected.first ?? .max)
        #expect(pairs[pixel].secondSquare == expected.dropFirst().first ?? .max)
      }
    }
  }

  @Test func weightsFollowThePapersEquation() throws {
    // Two cells of one pixel in a row of 7, and one pixel without label.
    let labels = stack(height: 1, width: 7) { _, _, _, x in [0, 1, 0, 0, 1, 0, 9][x] }
    let images = stack(height: 1, width: 7) { _, _, _, _ in 0 }
    let data = try SegmentationDataset(images: images, labels: labels, ignore: 9, name: "row")
    let weights = data.borderWeights(page: 0, weighting: BorderWeighting(strength: 4, sigma: 2))
    // Class weights 1/(2·4/6) and 1/(2·2/6); d1 + d2 = 5, 3, 3, 3, 3, 5; exp(−25/8) and exp(−9/8).
    let far: Float = 4 * 0.043936933
    let near: Float = 4 * 0.32465246
    let expected: [Float] = [0.75 + far, 1.5 + near, 0.75 + near, 0.75 + near, 1.5 + near, 0.75 + far, 0]
    for (weight, expected) in zip(weights, expected) { #expect(abs(weight - expected) < 1e-5) }
    #expect(weights[6] == 0)
  }

  @Test func oneCellHasNoBorder() throws {
    let labels = stack(height: 1, width: 4) { _, _, _, x in x == 1 ? 1 : 0 }
    let data = try SegmentationDataset(images: labels, labels: labels, name: "one")
    let weights = data.borderWeights(page: 0)
    #expect(weights == [Float(2) / 3, 2, Float(2) / 3, Float(2) / 3])
  }

  @Test func classWeightsComeFromThePart() throws {
    let labels = stack(pages: 2, height: 1, width: 4) { page, _, _, x in x <= page ? 1 : 0 }
    let data = try SegmentationDataset(images: labels, labels: labels, name: "two")
    let training = try data.split(validationSlices: 1).training
    #expect(training.borderWeights(page: 0) == [2, Float(2) / 3, Float(2) / 3, Float(2) / 3])
  }

  @Test func eachSliceIsComputedOnceUntilParametersChange() {
    let cell = BorderMapCell()
    var computed = 0
    func map(_ weighting: BorderWeighting) -> [Float] {
      cell.map(for: weighting) {
        computed += 1
        return [weighting.strength]
      }
    }
    #expect(map(BorderWeighting()) == [10])
    #expect(map(BorderWeighting()) == [10])
    #expect(computed == 1)
    #expect(map(BorderWeighting(strength: 3)) == [3])
    #expect(computed == 2)
  }

  @Test func preparingChangesNothing() throws {
    let lazy = try tellingDataset()
    let prepared = try tellingDataset()
    prepared.prepareBorderWeights()
    for page in 0..<3 { #expect(lazy.borderWeights(page: page) == prepared.borderWeights(page: page)) }
    #expect(lazy.borderWeights(page: 0) != lazy.borderWeights(page: 1))
  }
}
