import NormaFormats
import TestSupport
import Testing

@testable import NormaData

/// Images of 2×3 whose pixels are their number plus 10 times the channel; classes 0 1 2 0 1 2 …
private func numbered(_ count: Int = 12, channels: Int = 1, classes: Int = 3) throws -> ImageDataset {
  let pixels = (0..<count).flatMap { image in
    (0..<channels).flatMap { channel in [UInt8](repeating: UInt8(image + 10 * channel), count: 6) }
  }
  return try ImageDataset(
    name: "numbered", channels: channels, height: 2, width: 3, pixels: .bytes(pixels),
    targets: .classes((0..<count).map { UInt16($0 % classes) }, names: (0..<classes).map { "class \($0)" }))
}

/// Frames of 1×1 whose pixel is their number, and so is their value.
private func frames(_ count: Int) throws -> ImageDataset {
  let values = (0..<count).map(Float.init)
  return try ImageDataset(
    name: "frames", channels: 1, height: 1, width: 1, pixels: .reals(values), targets: .values(values, name: "score"))
}

@Suite struct ImageDatasetTests {
  @Test func imagesAndTargets() throws {
    let data = try numbered(channels: 2)
    #expect(data.count == 12 && data.valuesPerImage == 12 && data.classCounts == [4, 4, 4])
    let third = [Float](repeating: 3, count: 6) + [Float](repeating: 13, count: 6)
    #expect(data.image(3) == third.map { $0 / 255 })
    let part = data.part([5, 0], name: "two")
    #expect(part.count == 2 && part.name == "two" && part.image(0) == data.image(5) && part.image(1) == data.image(0))
    #expect(part.targets == .classes([2, 0], names: ["class 0", "class 1", "class 2"]))
    #expect(try frames(3).image(2) == [2] && frames(3).classCounts == nil)
  }

  @Test func digestTellsPixelsTargetsAndShapesApart() throws {
    let data = try numbered()
    #expect(try data.digest == numbered().digest)
    var others = [data.part(Array(1..<12), name: ""), try numbered(classes: 4), try numbered(channels: 2)]
    others.append(data.part([1, 0] + Array(2..<12), name: ""))
    others.append(
      try ImageDataset(
        name: "", channels: 1, height: 3, width: 2, pixels: data.pixels, targets: data.targets))
    others += [try frames(5), try frames(6)]
    #expect(Set(([data] + others).map(\.digest)).count == others.count + 1)
    // Names do not matter.
    #expect(data.part(Array(0..<12), name: "other").digest == data.digest)
  }

  @Test func classesAreSplitInEqualShares() throws {
    let data = try numbered(60)
    let (training, validation, test) = try data.split(validation: 0.2, test: 0.1, seed: 4)
    #expect(training.classCounts == [14, 14, 14] && validation.classCounts == [4, 4, 4])
    #expect(test?.classCounts == [2, 2, 2])
    func numbers(_ part: ImageDataset) -> [Int] { (0..<part.count).map { Int((part.image($0)[0] * 255).rounded()) } }
    let all = numbers(training) + numbers(validation) + numbers(try #require(test))
    #expect(all.sorted() == Array(0..<60))
    #expect(numbers(try data.split(validation: 0.2, test: 0.1, seed: 4).validation) == numbers(validation))
    #expect(numbers(try data.split(validation: 0.2, test: 0.1, seed: 5).validation) != numbers(validation))
    #expect(try data.split(validation: 0.2).test == nil)
    // One of a rare class is for training, of two one is for validation.
    let rare = data.part([0, 3, 6, 1, 4, 2], name: "rare")
    let parts = try rare.split(validation: 0.1)
    #expect(parts.training.classCounts == [2, 1, 1] && parts.validation.classCounts == [1, 1, 0])
  }

  @Test func framesAreSplitInOrder() throws {
    let (training, validation, test) = try frames(10).split(validation: 0.3, test: 0.2)
    #expect(training.targets == .values([0, 1, 2, 3, 4], name: "score"))
    #expect(validation.targets == .values([5, 6, 7], name: "score"))
    #expect(test?.targets == .values([8, 9], name: "score"))
  }

  @Test func mistakesAreNamed() throws {
    for (validation, test) in [(0, 0), (-0.1, 0), (1, 0), (0.5, 0.5), (.nan, 0), (0.2, -0.1), (0.2, .nan)]
      as [(Double, Double)]
    {
      #expect(errorKind { _ = try numbered().split(validation: validation, test: test) } == .split)
    }
    #expect(errorKind { _ = try frames(1).split(validation: 0.5) } == .split)
    #expect(errorKind { _ = try frames(2).split(validation: 0.4, test: 0.4) } == .split)
    func kind(
      channels: Int = 1, height: Int = 1, width: Int = 2, _ pixels: ImageDataset.Pixels, _ targets: ImageDataset.Targets
    ) -> DataError.Kind? {
      errorKind {
        _ = try ImageDataset(
          name: "bad", channels: channels, height: height, width: width, pixels: pixels, targets: targets)
      }
    }
    let good = ImageDataset.Targets.classes([0, 1], names: ["a", "b"])
    #expect(kind(.bytes([1, 2, 3, 4]), good) == nil)
    #expect(kind(.bytes([1, 2, 3]), good) == .size)
    #expect(kind(width: 0, .bytes([]), good) == .parameter)
    #expect(kind(.bytes([]), .values([], name: "x")) == .parameter)
    #expect(kind(height: .max, width: .max, .bytes([1]), good) == .size)
    #expect(kind(.bytes([1, 2, 3, 4]), .classes([0, 2], names: ["a", "b"])) == .labelValue)
    #expect(kind(.bytes([1, 2, 3, 4]), .classes([0, 0], names: ["a", "a"])) == .classCount)
    #expect(kind(.bytes([1, 2, 3, 4]), .values([0, .nan], name: "x")) == .target)
    #expect(kind(.reals([1, 2, 3, .infinity]), good) == .imageValue)
  }
}

@Suite struct ImageBatchTests {
  @Test func everyImageOnceInAnOrderOfItsOwn() throws {
    let data = try numbered(20, channels: 2)
    func batches(_ epoch: Int, seed: UInt64 = 3, workers: Int = 2) throws -> [ImageBatch] {
      try allBatches(data.batches(ImageSampling(batchSize: 6, seed: seed, workers: workers), epoch: epoch))
    }
    let first = try batches(0)
    #expect(first.map(\.count) == [6, 6, 6, 2])
    #expect(first.flatMap(\.indices).sorted() == Array(0..<20) && first.flatMap(\.indices) != Array(0..<20))
    for batch in first {
      #expect(batch.inputs == batch.indices.flatMap(data.image))
      #expect(batch.classes == batch.indices.map { Int64($0 % 3) } && batch.values == nil)
      #expect(batch.channels == 2 && batch.height == 2 && batch.width == 3)
    }
    #expect(try batches(0, workers: 3) == first)
    #expect(try batches(1) != first)
    #expect(try batches(0, seed: 4) != first)
  }

  @Test func lengthOfAnEpochAndSkipping() throws {
    let data = try frames(5)
    var sampling = ImageSampling(batchSize: 4, samplesPerEpoch: 13, seed: 1)
    let batches = try allBatches(data.batches(sampling, epoch: 2))
    #expect(batches.map(\.count) == [4, 4, 4, 1])
    let indices = batches.flatMap(\.indices)
    for index in 0..<5 { #expect([2, 3].contains(indices.count { $0 == index })) }
    #expect(batches[0].values == batches[0].indices.map(Float.init) && batches[0].classes == nil)
    var plan = BatchPlan(samples: 13, batchSize: 4)
    plan.skipped = 8
    let later = try data.batches(sampling, epoch: 2, plan)
    #expect(later.batchCount == 2)
    #expect(try allBatches(later) == Array(batches[2...]))
    sampling.samplesPerEpoch = 2
    #expect(try allBatches(data.batches(sampling, epoch: 0)).map(\.count) == [2])
  }

  @Test func evaluationIsInOrder() throws {
    let data = try numbered(7)
    let batches = try allBatches(data.evaluationBatches(batchSize: 3))
    #expect(batches.map(\.indices) == [[0, 1, 2], [3, 4, 5], [6]])
    #expect(batches.flatMap(\.inputs) == (0..<7).flatMap(data.image))
  }

  /// Pixels tell where they come from: 1 … 12 in 3 rows of 4.
  private func place() throws -> ImageDataset {
    try ImageDataset(
      name: "place", channels: 1, height: 3, width: 4, pixels: .reals((1...12).map(Float.init)),
      targets: .classes([0], names: ["a"]))
  }

  private func variants(_ augmentation: ImageAugmentation) throws -> Set<[Float]> {
    let sampling = ImageSampling(batchSize: 1, samplesPerEpoch: 600, seed: 0, augmentation: augmentation)
    return Set(try allBatches(place().batches(sampling, epoch: 0)).map(\.inputs))
  }

  @Test func shiftsAndFlips() throws {
    let plain = (1...12).map(Float.init)
    #expect(try variants(.none) == [plain])
    let flipped: [Float] = [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]
    #expect(try variants(ImageAugmentation(flips: true)) == [plain, flipped])
    let shifted = try variants(ImageAugmentation(shift: 1))
    #expect(shifted.count == 9 && shifted.contains(plain))
    #expect(shifted.contains([0, 0, 0, 0, 0, 1, 2, 3, 0, 5, 6, 7]))
    #expect(shifted.contains([6, 7, 8, 0, 10, 11, 12, 0, 0, 0, 0, 0]))
    let mirrored = try variants(ImageAugmentation(shift: 1, padding: .mirror))
    #expect(mirrored.count == 9)
    #expect(mirrored.contains([6, 5, 6, 7, 2, 1, 2, 3, 6, 5, 6, 7]))
    #expect(try variants(ImageAugmentation(shift: 2, flips: true)).count == 50)
  }

  @Test func standardizationIsThatOfTheTrainingSet() throws {
    let values: [Float] = [1, 2, 3, 10, 10, 10, 5, 6, 7, 10, 10, 10]
    let data = try ImageDataset(
      name: "real", channels: 2, height: 1, width: 3, pixels: .reals(values), targets: .values([0, 1], name: "x"))
    let standardization = Standardization(of: data)
    #expect(standardization.means == [4, 10])
    // (9 + 4 + 1 + 1 + 4 + 9) / 6
    #expect(abs(standardization.deviations[0] - (28.0 / 6).squareRoot()) < 1e-6 && standardization.deviations[1] == 1)
    let batch = try #require(try data.evaluationBatches(batchSize: 2, standardization: standardization).next())
    let expected = values.enumerated().map { index, value -> Float in
      let channel = index / 3 % 2
      return (value - standardization.means[channel]) / standardization.deviations[channel]
    }
    #expect(batch.inputs == expected)
    #expect(Standardization(metadata: standardization.metadata) == standardization)
    for (key, text) in [
      ("input_mean", "1"), ("input_mean", "1,x"), ("input_mean", "nan,1"), ("input_deviation", "1,0"),
      ("input_deviation", ""),
    ] {
      #expect(Standardization(metadata: standardization.metadata.merging([key: text]) { $1 }) == nil)
    }
    #expect(Standardization(metadata: [:]) == nil)
    #expect(
      errorKind { _ = try frames(2).evaluationBatches(batchSize: 1, standardization: standardization) } == .parameter)
    #expect(
      errorKind {
        _ = try frames(2).batches(ImageSampling(batchSize: 1, seed: 0), standardization: standardization, epoch: 0)
      } == .parameter)
  }

  /// A deviation far smaller than the mean keeps its digits.
  @Test func deviationBesideALargeMean() throws {
    let values = (0..<1000).map { 10_000 + Float($0 % 2) * 0.5 }
    let data = try ImageDataset(
      name: "far", channels: 1, height: 1, width: 1, pixels: .reals(values), targets: .values(values, name: "x"))
    #expect(abs(Standardization(of: data).deviations[0] - 0.25) < 1e-6)
  }

  @Test func mistakesAreNamed() throws {
    let data = try numbered()
    func kind(_ data: ImageDataset, _ change: (inout ImageSampling) -> Void) -> DataError.Kind? {
      var sampling = ImageSampling(batchSize: 2, seed: 0)
      change(&sampling)
      return errorKind { _ = try data.batches(sampling, epoch: 0) }
    }
    #expect(kind(data) { _ in } == nil)
    #expect(kind(data) { $0.batchSize = 0 } == .parameter)
    #expect(kind(data) { $0.samplesPerEpoch = 0 } == .parameter)
    #expect(kind(data) { $0.workers = 0 } == .parameter)
    #expect(kind(data) { $0.depth = 0 } == .parameter)
    #expect(kind(data) { $0.augmentation.shift = 1 } == nil)
    #expect(kind(data) { $0.augmentation.shift = 2 } == .parameter)
    #expect(kind(data) { $0.augmentation.shift = -1 } == .parameter)
    #expect(try kind(frames(3)) { $0.augmentation.flips = true } == .parameter)
    #expect(errorKind { _ = try data.evaluationBatches(batchSize: 0) } == .parameter)
  }
}
