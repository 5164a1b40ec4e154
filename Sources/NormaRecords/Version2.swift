// Records of version 2 are read as those of version 3: it was all of segmentation by the U-Net.

extension EpochRecord {
  private enum Version2: String, CodingKey {
    case accuracy, validationAccuracy
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let old = try decoder.container(keyedBy: Version2.self)
    func scores(_ key: CodingKeys, _ oldKey: Version2) throws -> [String: Double] {
      guard old.contains(oldKey) else { return try values.decode([String: Double].self, forKey: key) }
      return [ScoreName.accuracy.rawValue: try old.decode(Double.self, forKey: oldKey)]
    }
    self.init(
      epoch: try values.decode(Int.self, forKey: .epoch), loss: try values.decode(Double.self, forKey: .loss),
      scores: try scores(.scores, .accuracy), validationLoss: try values.decode(Double.self, forKey: .validationLoss),
      validationScores: try scores(.validationScores, .validationAccuracy),
      validationDice: try values.decode([Double].self, forKey: .validationDice),
      validationIntersectionOverUnion: try values.decode([Double].self, forKey: .validationIntersectionOverUnion),
      learningRate: try values.decode(Double.self, forKey: .learningRate),
      seconds: try values.decode(Double.self, forKey: .seconds),
      validationSeconds: try values.decode(Double.self, forKey: .validationSeconds),
      dataWaitSeconds: try values.decode(Double.self, forKey: .dataWaitSeconds))
  }
}

extension DataRecord {
  private enum Version2: String, CodingKey {
    case trainingSlices, validationSlices, testSlices, constantAccuracy
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let old = try decoder.container(keyedBy: Version2.self)
    func count(_ key: CodingKeys, _ oldKey: Version2) throws -> Int {
      old.contains(oldKey) ? try old.decode(Int.self, forKey: oldKey) : try values.decode(Int.self, forKey: key)
    }
    self.init(
      name: try values.decode(String.self, forKey: .name),
      isSynthetic: try values.decode(Bool.self, forKey: .isSynthetic),
      unit: try values.decodeIfPresent(String.self, forKey: .unit) ?? "slices",
      trainingSamples: try count(.trainingSamples, .trainingSlices),
      validationSamples: try count(.validationSamples, .validationSlices),
      testSamples: try count(.testSamples, .testSlices), height: try values.decode(Int.self, forKey: .height),
      width: try values.decode(Int.self, forKey: .width), channels: try values.decode(Int.self, forKey: .channels),
      classes: try values.decode(Int.self, forKey: .classes),
      constantScores: old.contains(.constantAccuracy)
        ? [ScoreName.accuracy.rawValue: try old.decode(Double.self, forKey: .constantAccuracy)]
        : try values.decode([String: Double].self, forKey: .constantScores),
      digest: try values.decodeIfPresent(String.self, forKey: .digest))
  }
}
