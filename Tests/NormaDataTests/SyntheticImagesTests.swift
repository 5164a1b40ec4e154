import Testing

@testable import NormaData

@Suite struct SyntheticImagesTests {
  /// How many of the second half of the images a classifier finds that takes the class whose mean image is nearest.
  private func nearestMean(_ data: ImageDataset) throws -> Double {
    guard case .classes(let classes, let names) = data.targets else {
      Issue.record("expected classes")
      return 1
    }
    let half = data.count / 2
    var means = names.map { _ in [Float](repeating: 0, count: data.valuesPerImage) }
    for index in 0..<half {
      let number = Int(classes[index])
      for (pixel, value) in data.image(index).enumerated() {
        means[number][pixel] += value * Float(names.count) / Float(half)
      }
    }
    var right = 0
    for index in half..<data.count {
      let image = data.image(index)
      let distances = means.map { mean in
        image.indices.reduce(Float(0)) { $0 + (image[$1] - mean[$1]) * (image[$1] - mean[$1]) }
      }
      right += distances.firstIndex(of: distances.min()!) == Int(classes[index]) ? 1 : 0
    }
    return Double(right) / Double(data.count - half)
  }

  @Test func shapes() throws {
    let data = SyntheticShapes(count: 400, seed: 3).make()
    #expect(data.channels == 3 && data.height == 32 && data.width == 32)
    #expect(data.classCounts == Array(repeating: 50, count: 8))
    // Chance is 0.125.
    #expect(try nearestMean(data) < 0.25)
    // A picture does not depend on how many there are.
    #expect(SyntheticShapes(count: 9, seed: 3).make().image(8) == data.image(8))
    let small = SyntheticShapes(side: 8, count: 20).make()
    #expect(small.height == 8 && small.classCounts == [3, 3, 3, 3, 2, 2, 2, 2])
    #expect(SyntheticShapes(side: 50, count: 16).make().width == 50)
  }

  @Test func digits() throws {
    let data = SyntheticDigits(count: 600, seed: 3).make()
    #expect(data.channels == 1 && data.height == 28 && data.width == 28)
    #expect(data.classCounts == Array(repeating: 60, count: 10))
    #expect(try nearestMean(data) < 0.8)
    for index in 0..<20 {
      let image = data.image(index)
      let ink = image.reduce(0, +)
      // White on black: some ink, much black, and nothing at the edge but noise.
      #expect(ink > 30 && ink < 300 && image.count { $0 < 0.2 } > 450 && image[..<28].reduce(0, +) < 3)
    }
  }

  @Test func flow() throws {
    let data = SyntheticFlow(count: 300, seed: 3).make()
    #expect(data.channels == 3 && data.height == 42 && data.width == 42)
    guard case .values(let scores, _) = data.targets else {
      Issue.record("expected numbers")
      return
    }
    #expect(scores.allSatisfy { (0...1).contains($0) })
    #expect((70...140).contains(scores.count { $0 == 0 }))
    let area = 42 * 42
    let strains = (0..<data.count).map { Array(data.image($0)[(2 * area)...]) }
    #expect(strains.joined().allSatisfy { $0 >= 0 })
    let first = data.image(7)
    #expect(
      SyntheticFlow.strain(u: Array(first[..<area]), v: Array(first[area..<2 * area]), height: 42, width: 42)
        == strains[7])
    // The sum of the strain says little, its greatest value more: the spot has to be found.
    let sum = correlation(strains.map { $0.reduce(0, +) }, scores)
    let greatest = correlation(strains.map { $0.max()! }, scores)
    #expect(abs(sum) < 0.6 && greatest > 0.8, "\(sum) \(greatest)")
  }

  private func correlation(_ a: [Float], _ b: [Float]) -> Float {
    let (meanA, meanB) = (a.reduce(0, +) / Float(a.count), b.reduce(0, +) / Float(b.count))
    func sum(_ f: (Float, Float) -> Float) -> Float { zip(a, b).reduce(0) { $0 + f($1.0 - meanA, $1.1 - meanB) } }
    return sum(*) / (sum { x, _ in x * x } * sum { _, y in y * y }).squareRoot()
  }

  @Test func strainOfALinearMotion() {
    // u = 3x + y, v = 5x − 4y.
    let places = (0..<20).map { (Float($0 % 5), Float($0 / 5)) }
    let strain = SyntheticFlow.strain(
      u: places.map { 3 * $0 + $1 }, v: places.map { 5 * $0 - 4 * $1 }, height: 4, width: 5)
    // √(9 + 16 + 2 · 3²)
    #expect(strain.allSatisfy { abs($0 - Float(43).squareRoot()) < 1e-5 })
    // A rotation strains nothing.
    let turn = SyntheticFlow.strain(u: places.map { -$1 }, v: places.map { x, _ in x }, height: 4, width: 5)
    #expect(turn.allSatisfy { $0 == 0 })
  }

  @Test func textures() throws {
    let textures = SyntheticTextures(side: 32, seed: 1)
    let styles = textures.styles(8)
    #expect(styles.count == 8 && styles.channels == 3 && styles.height == 32)
    guard case .classes(let numbers, let names) = styles.targets else {
      Issue.record("expected classes")
      return
    }
    #expect(numbers == Array(0..<8) && names.last == "mosaic 2")
    #expect(styles.image(0) != styles.image(6))
    // Fewer styles are the same ones.
    #expect(textures.styles(2).image(1) == styles.image(1))
    let contents = textures.contents(40)
    #expect(contents.classCounts == [10, 10, 10, 10])
    for index in 0..<8 {
      let picture = contents.image(index)
      #expect(picture.max()! - picture.min()! > 0.3)
    }
    #expect(SyntheticTextures(side: 16).contents(4).width == 16)
  }

  @Test func aSeedDecidesEverything() {
    func digests(_ seed: UInt64) -> [String] {
      [
        SyntheticShapes(count: 16, seed: seed).make(), SyntheticDigits(count: 20, seed: seed).make(),
        SyntheticFlow(count: 5, seed: seed).make(), SyntheticTextures(side: 24, seed: seed).styles(),
        SyntheticTextures(side: 24, seed: seed).contents(8),
      ].map(\.digest)
    }
    // The same bytes on every machine and at every optimization level.
    #expect(
      digests(5) == [
        "f22ffc561737d8e1", "e75ac3860647594f", "77e4da7cc06d1ecd", "b5628bfaeffb50cd", "26eb60ad2762aedf",
      ])
    #expect(Set(digests(5) + digests(6)).count == 10)
  }
}
